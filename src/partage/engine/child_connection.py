"""HTTP to our own child over its unix socket, and no more of it than a model server needs: every token passes here.

aiohttp, which speaks to adopted servers, takes three times the processor time for a request (docs/decisions/020).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import cast

import httptools
import msgspec

from partage.engine.connection import LONGEST_ERROR_BODY, UNREADABLE, error_of
from partage.engine.patience import Patience
from partage.errors import EngineCrashed, EngineError, EngineTimedOut

KEEP_S = 1.5
"""A server may close a connection just as the next request is on its way, and a POST that is lost so cannot be repeated
safely. Our child keeps one for 5 s; we let go of it long before. An idle one also takes one of the child's HTTP threads:
http_threads() in launch.py has one for each slot."""
ENOUGH_BYTES = 256 * 1024
"""When so much lies unread, the server has to wait."""


class ChildConnection:
    """Satisfies Connection. Any number of requests go side by side, each on a socket of its own.

    Leaving lines() early closes its socket at once: that is how the server learns that nobody listens any more.
    """

    def __init__(self, socket_path: str, *, key: str, idle_timeout_s: float) -> None:
        self._path = socket_path
        self._key = key
        self._headers = f"Host: engine\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        self._idle_timeout_s = idle_timeout_s
        self._sockets: set[_Socket] = set()
        self._idle: list[_Socket] = []
        """Those of them that may take another request."""
        self._preparing = False
        self._paused = False
        self._closed = False

    async def close(self) -> None:
        """Whoever still waits for an answer is told."""
        self._closed = True
        for one in self._sockets:
            one.close()

    def pause(self) -> None:
        """Silence is no error from now on."""
        self._paused = True
        for one in self._sockets:
            one.patience.pause()

    def resume(self) -> None:
        """Who waits has as much patience as was left."""
        self._paused = False
        for one in self._sockets:
            one.patience.resume()

    async def get(self, path: str) -> bytes:
        return await self._whole("GET", path, b"")

    async def post(self, path: str, body: object) -> bytes:
        return await self._whole("POST", path, msgspec.json.encode(body))

    async def lines(self, path: str, body: object) -> AsyncGenerator[list[bytes], None]:
        """Yield the complete lines of a streamed answer, as they arrive, without their ends."""
        rest = b""
        one = await self._ask("POST", path, msgspec.json.encode(body))
        try:
            await self._prepare()
            await one.wait_head()
            while data := await one.read():
                *lines, rest = (rest + data).split(b"\n")
                if lines:
                    yield lines
        finally:
            one.close()  # at the end too: llama.cpp closes after a stream, whatever it said before
        if rest:
            yield [rest]

    async def _whole(self, method: str, path: str, body: bytes) -> bytes:
        one = await self._ask(method, path, body)
        pieces: list[bytes] = []
        try:
            await one.wait_head()
            while data := await one.read():
                pieces.append(data)
        finally:
            self._leave(one)
        return b"".join(pieces)

    async def _ask(self, method: str, path: str, body: bytes) -> _Socket:
        if self._closed:  # it ended between the decision to serve here and now
            raise EngineCrashed("the model server has ended")
        one = self._kept() or await self._connect()
        one.ask(f"{method} {path} HTTP/1.1\r\n{self._headers}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        return one

    def _kept(self) -> _Socket | None:
        """One that waits and is not just being closed, by its timer or by the server: it is told of that a moment later."""
        while self._idle:
            one = self._idle.pop()
            if not one.closing:
                return one
        return None

    async def _prepare(self) -> None:
        """Open a socket for the next stream while there is time, for this one is computed. Only one: it takes a thread."""
        if not self._idle and not self._preparing:
            self._preparing = True
            try:
                self._leave(await self._connect())
            finally:
                self._preparing = False

    async def _connect(self) -> _Socket:
        one = _Socket(self._idle_timeout_s, self._gone, paused=self._paused)
        try:
            await asyncio.get_running_loop().create_unix_connection(lambda: one, self._path)
        except OSError as error:
            raise EngineCrashed("the model server does not take connections any more") from error
        self._sockets.add(one)
        return one

    def _leave(self, one: _Socket) -> None:
        if one.reusable:
            self._idle.append(one)
            one.close_after(KEEP_S)
        else:
            one.close()

    def _gone(self, one: _Socket) -> None:
        self._sockets.discard(one)
        if one in self._idle:
            self._idle.remove(one)


class _Socket(asyncio.Protocol):
    """Takes a request and gives the pieces of its answer; then perhaps the next."""

    def __init__(self, idle_timeout_s: float, gone: Callable[[_Socket], None], *, paused: bool) -> None:
        self.patience = Patience(idle_timeout_s, self._too_late, paused=paused)
        self.reusable = True
        """No answer is under way, and the server keeps the connection."""
        self._idle_timeout_s = idle_timeout_s
        self._gone = gone
        self._loop = asyncio.get_running_loop()
        self._transport = asyncio.Transport()
        self._parser = httptools.HttpResponseParser(self)
        self._status = 0
        self._pieces: list[bytes] = []
        self._unread_bytes = 0
        self._complete = False
        self._error: EngineError | None = None
        self._news: asyncio.Future[None] | None = None
        """Somebody waits for it."""
        self._end_of_idling: asyncio.TimerHandle | None = None

    @property
    def closing(self) -> bool:
        return self._transport.is_closing()

    def ask(self, request: bytes) -> None:
        if self._end_of_idling is not None:
            self._end_of_idling.cancel()
        self._parser = httptools.HttpResponseParser(self)
        self._status, self._complete, self.reusable = 0, False, False
        self._transport.write(request)

    async def wait_head(self) -> None:
        """Raises EngineCrashed, EngineTimedOut; what the answer says, if it is an error."""
        while not self._status:
            await self._wait_news()
        if self._status >= 400:
            raise error_of(self._status, await self._rest(LONGEST_ERROR_BODY))

    async def read(self) -> bytes:
        """What has come since the last time; nothing at the end. Raises EngineCrashed, EngineTimedOut."""
        while not self._pieces and not self._complete:
            await self._wait_news()
        data = b"".join(self._pieces)
        self._pieces.clear()
        if self._unread_bytes >= ENOUGH_BYTES:
            self._transport.resume_reading()
        self._unread_bytes = 0
        return data

    async def _rest(self, limit_bytes: int) -> bytes:
        data = b""
        while len(data) < limit_bytes and (more := await self.read()):
            data += more
        return data

    def close_after(self, idle_s: float) -> None:
        self._end_of_idling = self._loop.call_later(idle_s, self.close)

    def close(self) -> None:
        self._transport.abort()

    async def _wait_news(self) -> None:
        if self._error is not None:
            raise self._error
        self._news = self._loop.create_future()
        self.patience.begin()
        try:
            await self._news
        finally:
            self.patience.end()
            self._news = None

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def _fail(self, error: EngineError) -> None:
        self._error = self._error or error
        self._tell()

    def _too_late(self) -> None:
        self._fail(EngineTimedOut(f"the model server was silent for {self._idle_timeout_s:g} s"))
        self.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(EngineError(UNREADABLE.format(error)))
            self.close()
        self._tell()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(EngineCrashed("the model server closed the connection in the middle of this request"))
        if self._end_of_idling is not None:
            self._end_of_idling.cancel()
        self._gone(self)

    def on_headers_complete(self) -> None:
        """Called by httptools, as the two below."""
        self._status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)
        self._unread_bytes += len(body)
        if self._unread_bytes >= ENOUGH_BYTES:
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        self._complete = True
        self.reusable = self._parser.should_keep_alive()
