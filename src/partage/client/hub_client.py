"""The async client of the hub: models, chat, embeddings, load and unload, pull, status."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from partage.client.lease import Lease, News, holding
from partage.client.problems import error_of, message_of
from partage.client.transport import AiohttpTransport, Reply, Transport
from partage.client.wire import (
    ChatAnswer,
    ChatLine,
    ChatPiece,
    Embeddings,
    ModelInfo,
    PullLine,
    PullProgress,
    Running,
    RunningModel,
    Shown,
    Tags,
    wire_message,
)
from partage.errors import EngineCrashed, EngineError, EngineTimedOut, PartageError, PullError, Refused
from partage.json_value import JsonObject, JsonValue
from partage.work import Message, OutputFormat

T = TypeVar("T")

DEFAULT_URL = "http://127.0.0.1:11434"
BEAT_S = 5.0  # a heartbeat that takes longer is late anyway
PATIENCE_S = 60.0  # how long refusals are waited out where the caller sets no timeout


class HubClient:
    """Use as `async with HubClient() as hub`. Raises the hub's own errors, HubUnreachable and EngineTimedOut.

    `timeout_s` (here, or per call) bounds one whole call, streams included; None: no bound. With `retry`, a refusal
    (429, 503 with Retry-After) is waited out as long as the timeout allows, then raised. Cancelling a call, or closing
    a stream, closes its connection at once, so that the hub stops working for it.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        timeout_s: float | None = None,
        retry: bool = True,
        transport: Transport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._api_key = api_key
        self._timeout_s = timeout_s
        self._retry = retry
        self._transport = transport
        self._sleep = sleep

    async def __aenter__(self) -> Self:
        # Not in __init__: aiohttp wants the running loop.
        self._transport = self._transport or AiohttpTransport(self.base_url, api_key=self._api_key)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._transport is not None:
            await self._transport.close()
            self._transport = None

    async def models(self) -> list[ModelInfo]:
        tags = await self._call("GET", "/api/tags", None, Tags)
        return [
            model.info(
                model.capabilities
                if model.capabilities is not None
                else (await self._call("POST", "/api/show", {"model": model.name}, Shown)).capabilities
            )
            for model in tags.models
        ]

    async def running(self) -> list[RunningModel]:
        running = await self._call("GET", "/api/ps", None, Running)
        return [
            RunningModel(
                name=model.name,
                size_bytes=model.size,
                vram_bytes=model.size_vram,
                context_tokens=model.context_length,
                expires_at=model.expires_at,
            )
            for model in running.models
        ]

    async def show(self, model: str) -> JsonObject:
        return await self._call("POST", "/api/show", {"model": model}, dict)

    async def load(self, model: str, *, keep_alive: float | str | None = None) -> None:
        body: JsonObject = {"model": model, "stream": False}
        await self._call(
            "POST", "/api/generate", body if keep_alive is None else body | {"keep_alive": keep_alive}, dict
        )

    async def unload(self, model: str) -> None:
        await self._call("POST", "/api/generate", {"model": model, "stream": False, "keep_alive": 0}, dict)

    async def delete(self, model: str) -> None:
        async with aclosing(self._chunks("DELETE", "/api/delete", {"model": model}, self._timeout_s)) as chunks:
            async for _ in chunks:
                pass

    async def pull(self, model: str) -> AsyncGenerator[PullProgress]:
        """Fetch a model; raises PullError, also where the pull breaks off after it began."""
        body: JsonObject = {"model": model, "stream": True}
        async with aclosing(self._lines("/api/pull", body, None, PullError)) as lines:
            async for line in lines:
                part = _decode(line, PullLine)
                yield PullProgress(
                    status=part.status, digest=part.digest, total_bytes=part.total, completed_bytes=part.completed
                )
                if part.status == "success":
                    return
        raise PullError(f"the pull of '{model}' broke off before its end; run it again, it goes on where it stopped")

    async def chat(
        self,
        model: str,
        messages: Sequence[Message],
        *,
        format: OutputFormat = None,  # noqa: A002 - the API's own word
        options: Mapping[str, JsonValue] | None = None,
        keep_alive: float | str | None = None,
        timeout_s: float | None = None,
    ) -> ChatAnswer:
        body = _chat_body(model, messages, format, options, keep_alive, stream=False)
        line = await self._call("POST", "/api/chat", body, ChatLine, timeout_s=timeout_s)
        piece = line.piece()
        return ChatAnswer(
            text=piece.text,
            thinking=piece.thinking,
            tool_calls=piece.tool_calls,
            finish_reason=piece.finish_reason,
            usage=piece.usage,
            load_s=piece.load_s,
            total_s=piece.total_s,
        )

    async def stream_chat(
        self,
        model: str,
        messages: Sequence[Message],
        *,
        format: OutputFormat = None,  # noqa: A002 - the API's own word
        options: Mapping[str, JsonValue] | None = None,
        keep_alive: float | str | None = None,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[ChatPiece]:
        """Hold it with `contextlib.aclosing` where the loop may be left early: only closing it frees the model."""
        body = _chat_body(model, messages, format, options, keep_alive, stream=True)
        async with aclosing(self._lines("/api/chat", body, timeout_s or self._timeout_s, EngineError)) as lines:
            async for line in lines:
                piece = _decode(line, ChatLine).piece()
                yield piece
                if piece.done:
                    return
        raise EngineCrashed("the answer broke off before its end")

    async def embed(
        self, model: str, inputs: Sequence[str], *, truncate: bool = True, timeout_s: float | None = None
    ) -> list[list[float]]:
        """One vector per input, in order."""
        if not inputs:
            return []
        body: JsonObject = {"model": model, "input": list(inputs), "truncate": truncate}
        vectors = (await self._call("POST", "/api/embed", body, Embeddings, timeout_s=timeout_s)).embeddings
        if len(vectors) != len(inputs):
            raise EngineError(f"the hub answered {len(inputs)} inputs with {len(vectors)} vectors")
        return vectors

    async def version(self) -> str:
        """Ask the quickest question there is: it tells whether the hub answers at all."""
        return str((await self._call("GET", "/api/version", None, dict[str, object])).get("version", ""))

    async def status(self) -> JsonObject:
        return await self._call("GET", "/admin/status", None, dict)

    async def alerts(self) -> JsonObject:
        """Raises NotFound where the hub does not watch."""
        return await self._call("GET", "/admin/alerts", None, dict)

    async def machine(self) -> JsonObject:
        """Raises NotFound where the hub does not watch."""
        return await self._call("GET", "/admin/machine", None, dict)

    async def pin(self, model: str, *, pinned: bool) -> None:
        """Keep the model in memory whatever else is wanted, or no longer."""
        await self._call("POST", "/admin/pin", {"model": model, "pinned": pinned}, dict)

    async def pause(self, model: str, *, paused: bool) -> None:
        """Let the model compute nothing until it is let go; those it serves wait."""
        await self._call("POST", "/admin/pause", {"model": model, "paused": paused}, dict)

    async def pause_lease(self, lease: str, *, paused: bool) -> None:
        """The same for whoever holds a lease. Raises NotFound."""
        await self._call("POST", "/admin/pause", {"lease": lease, "paused": paused}, dict)

    def lease(  # noqa: PLR0913 - what `partage run` takes
        self,
        memory: str | int | None = None,
        *,
        class_: str | None = None,
        device: str | int | None = None,
        exclusive: bool = False,
        cores: int | None = None,
        name: str = "",
        max_wait: str | float | None = None,
        on_news: Callable[[News], None] = lambda _: None,
    ) -> AbstractAsyncContextManager[Lease]:
        """Hold memory of a device for work of our own: `async with hub.lease("6GiB", class_="batch") as lease`.

        Waits for its turn. Raises CannotFit, QueueFull; inside, LeaseLost where the hub ends it. When the hub itself goes
        away the body goes on, without anybody's promise (`on_news` hears "orphaned"), until a hub is back ("returned").
        """
        asked: JsonObject = {
            "memory": memory,
            "class": class_,
            "device": device,
            "exclusive": exclusive,
            "cores": cores,
            "name": name,
            "max_wait": max_wait,
        }

        def beat(lease: str, pids: tuple[int, ...]) -> Awaitable[object]:
            return self._call("POST", f"/admin/leases/{lease}/heartbeat", {"pids": list(pids)}, dict, timeout_s=BEAT_S)

        return holding(
            {key: value for key, value in asked.items() if value is not None},
            lambda order: self._lines("/admin/leases", order, None, Refused),
            beat,
            on_news,
            self._sleep,
        )

    async def leases(self) -> list[JsonObject]:
        return (await self._call("GET", "/admin/leases", None, dict[str, list[dict[str, Any]]]))["leases"]

    async def end_lease(self, lease: str) -> None:
        """Somebody else's, too. Raises NotFound."""
        await self._call("DELETE", f"/admin/leases/{lease}", None, dict)

    async def _call(
        self, method: str, path: str, body: JsonObject | None, answer: type[T], *, timeout_s: float | None = None
    ) -> T:
        async with aclosing(self._chunks(method, path, body, timeout_s or self._timeout_s)) as chunks:
            return _decode(b"".join([chunk async for chunk in chunks]), answer)

    async def _lines(
        self, path: str, body: JsonObject, timeout_s: float | None, failure: type[PartageError]
    ) -> AsyncGenerator[bytes]:
        """Read a stream line by line; a line that says {"error": ...} is raised as `failure`."""
        rest = b""
        async with aclosing(self._chunks("POST", path, body, timeout_s)) as chunks:
            async for chunk in chunks:
                *lines, rest = (rest + chunk).split(b"\n")
                for line in filter(None, map(bytes.strip, lines)):
                    if line.startswith(b'{"error"'):
                        raise failure(message_of(line) or None)
                    yield line
        if rest.strip():
            yield rest

    async def _chunks(
        self, method: str, path: str, body: JsonObject | None, timeout_s: float | None
    ) -> AsyncGenerator[bytes]:
        # The timeout is set anew around each wait: one that is left open over a `yield` would cancel the caller's code.
        deadline_s = None if timeout_s is None else asyncio.get_running_loop().time() + timeout_s
        late = EngineTimedOut(f"no answer from {self.base_url}{path} within {timeout_s:g} s") if timeout_s else None
        async with AsyncExitStack() as stack:
            async with _until(deadline_s, late):
                reply = await self._wait_accepted(stack, method, path, body, timeout_s or PATIENCE_S)
            chunks = await stack.enter_async_context(aclosing(reply.chunks()))
            while True:
                async with _until(deadline_s, late):
                    chunk = await anext(chunks, None)
                if chunk is None:
                    return
                yield chunk

    async def _wait_accepted(
        self, stack: AsyncExitStack, method: str, path: str, body: JsonObject | None, patience_s: float
    ) -> Reply:
        assert self._transport is not None, "use `async with HubClient()`"
        raw = None if body is None else msgspec.json.encode(body)
        model = None if body is None else body.get("model")
        while True:
            reply = await stack.enter_async_context(self._transport.exchange(method, path, raw))
            if reply.status < 400:
                return reply
            text = b"".join([chunk async for chunk in reply.chunks()])
            await stack.aclose()
            error = error_of(reply.status, reply.headers, text, model=model if isinstance(model, str) else None)
            if not self._retry or not isinstance(error, Refused) or error.retry_after_s > patience_s:
                raise error
            # At least a little each time, or "Retry-After: 0" would never use the patience up.
            wait_s = max(error.retry_after_s, 0.1)
            patience_s -= wait_s
            await self._sleep(wait_s)


@asynccontextmanager
async def _until(deadline_s: float | None, late: PartageError | None) -> AsyncGenerator[None]:
    try:
        async with asyncio.timeout_at(deadline_s):
            yield
    except TimeoutError as error:
        raise late or error from error


def _decode(raw: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.MsgspecError as error:
        raise EngineError(
            f"the hub's answer is not understood ({error}): {raw[:200].decode(errors='replace')}"
        ) from error


def _chat_body(
    model: str,
    messages: Sequence[Message],
    format_: OutputFormat,
    options: Mapping[str, JsonValue] | None,
    keep_alive: float | str | None,
    *,
    stream: bool,
) -> JsonObject:
    body: JsonObject = {"model": model, "messages": [wire_message(message) for message in messages], "stream": stream}
    optional: JsonObject = {"format": format_, "options": dict(options) if options else None, "keep_alive": keep_alive}
    return body | {key: value for key, value in optional.items() if value is not None}
