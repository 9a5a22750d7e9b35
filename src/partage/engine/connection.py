"""One HTTP way to a model server: posts JSON, streams lines, and turns every failure into an error of ours."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import TypeVar

import aiohttp
import msgspec

from partage.errors import (
    ContextTooLong,
    EngineCrashed,
    EngineError,
    EngineTimedOut,
    InvalidRequest,
    PartageError,
    Unsupported,
)

LONGEST_ERROR_BODY = 64 * 1024
KEEP_S = 1.5
"""An idle connection takes one of the child's HTTP threads with it: http_threads() in launch.py has one for each slot."""
UNREADABLE = "the model server sent something unreadable: {}"

T = TypeVar("T")


class Connection:
    """Open it once per engine with `async with`; any number of requests go side by side.

    Leaving lines() early closes the connection at once: that is how the server learns that nobody listens any more.
    """

    def __init__(
        self, base_url: str, *, socket_path: str = "", headers: Mapping[str, str] | None = None, idle_timeout_s: float
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._socket_path = socket_path
        self._headers = {"Content-Type": "application/json", **(headers or {})}
        self._idle_timeout_s = idle_timeout_s
        self._session: aiohttp.ClientSession | None = None
        self._patience: dict[asyncio.Timeout, float] = {}
        """Of all that wait for the server, and what is left of it while that is paused."""
        self._paused = False

    async def open(self) -> None:
        # A server may close a connection just as the next request is on its way, and a POST that is lost so cannot be
        # repeated safely. Our own child keeps one for 5 s; we let go of it long before. Somebody else's we never keep.
        connector: aiohttp.BaseConnector = (
            aiohttp.UnixConnector(self._socket_path, limit=0, keepalive_timeout=KEEP_S)
            if self._socket_path
            else aiohttp.TCPConnector(limit=0, force_close=True)
        )
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10.0)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, headers=self._headers)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def pause(self) -> None:
        """Silence is no error from now on."""
        if not self._paused:
            self._paused = True
            now_s = asyncio.get_running_loop().time()
            for timeout in self._patience:
                self._patience[timeout] = (timeout.when() or now_s) - now_s
                _set(timeout, None)

    def resume(self) -> None:
        """Who waits has as much patience as was left."""
        if self._paused:
            self._paused = False
            now_s = asyncio.get_running_loop().time()
            for timeout, left_s in self._patience.items():
                _set(timeout, now_s + left_s)

    async def get(self, path: str) -> bytes:
        async with self._request("GET", path, None) as response:
            return b"".join([data async for data in self._chunks(response)])

    async def post(self, path: str, body: object) -> bytes:
        async with self._request("POST", path, body) as response:
            return b"".join([data async for data in self._chunks(response)])

    async def lines(self, path: str, body: object) -> AsyncGenerator[list[bytes], None]:
        """Yield the complete lines of a streamed answer, as they arrive, without their ends."""
        rest = b""
        # llama.cpp closes the connection at the end of a stream without saying so: it is of no use to the next request.
        async with self._request("POST", path, body, {"Connection": "close"}) as response:
            async for data in self._chunks(response):
                *lines, rest = (rest + data).split(b"\n") if rest else data.split(b"\n")
                if lines:
                    yield lines
        if rest:
            yield [rest]

    async def _chunks(self, response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
        while True:
            async with self._impatient():
                data = await response.content.readany()
            if not data:
                return
            yield data

    @contextlib.asynccontextmanager
    async def _impatient(self) -> AsyncGenerator[None]:
        """Wait for the server, but not for ever. Nothing may be yielded to others inside: the timeout is the waiter's."""
        async with asyncio.timeout(None if self._paused else self._idle_timeout_s) as timeout:
            self._patience[timeout] = self._idle_timeout_s
            try:
                yield
            finally:
                del self._patience[timeout]

    @contextlib.asynccontextmanager
    async def _request(
        self, method: str, path: str, body: object, headers: Mapping[str, str] | None = None
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        assert self._session is not None, "open() comes first"
        if self._session.closed:  # it ended between the decision to serve here and now
            raise EngineCrashed("the model server has ended")
        data = None if body is None else msgspec.json.encode(body)
        try:
            async with self._impatient():
                response = await self._session.request(method, self._base_url + path, data=data, headers=headers)
            try:
                if response.status >= 400:
                    async with self._impatient():
                        raise error_of(response.status, await response.content.read(LONGEST_ERROR_BODY))
                yield response
            finally:
                response.close()  # unless read to its end: the server stops working on what nobody reads
        except TimeoutError as error:
            raise EngineTimedOut(f"the model server was silent for {self._idle_timeout_s:g} s") from error
        except aiohttp.ClientConnectorError as error:
            raise EngineCrashed("the model server does not take connections any more") from error
        except aiohttp.ClientError as error:
            raise EngineCrashed("the model server closed the connection in the middle of this request") from error


def _set(timeout: asyncio.Timeout, when_s: float | None) -> None:
    if not timeout.expired():
        timeout.reschedule(when_s)


def decode(answer: bytes, type_: type[T]) -> T:
    try:
        return msgspec.json.decode(answer, type=type_)
    except msgspec.MsgspecError as error:
        raise EngineError(UNREADABLE.format(error)) from error


class _ErrorBody(msgspec.Struct):
    message: str = ""
    type: str = ""
    code: int | str | None = None
    n_prompt_tokens: int = 0
    n_ctx: int = 0


class _Problem(msgspec.Struct):
    error: _ErrorBody | str = ""
    message: str = ""


def error_of(status: int, body: bytes) -> PartageError:
    """Read the error body of llama.cpp, Ollama, OpenAI or vLLM."""
    try:
        problem = msgspec.json.decode(body, type=_Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        problem = _Problem(error=body[:300].decode(errors="replace").strip())
    error = problem.error
    if isinstance(error, str):
        error = _ErrorBody(message=error or problem.message)
    message = error.message or f"the model server answered {status}"
    lowered = message.lower()
    if error.n_ctx:
        return ContextTooLong(
            f"the prompt has {error.n_prompt_tokens} tokens, the model's context holds {error.n_ctx}; "
            f"shorten it, or ask for a larger context"
        )
    if error.code == "context_length_exceeded" or "context length" in lowered or "too large to process" in lowered:
        return ContextTooLong(message)
    if status == 501 or "not supported" in lowered or "does not support" in lowered:
        return Unsupported(message)
    if status in {400, 413, 415, 422}:
        return InvalidRequest(message)
    if status in {401, 403}:
        return EngineError("the model server refuses the hub's key")
    return EngineError(message)
