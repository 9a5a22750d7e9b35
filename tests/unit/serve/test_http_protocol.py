from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from partage.serve.http_protocol import HEAD_S, IDLE_S, LARGEST_HEAD_BYTES, SILENCE_S, BoundedHttp

START = b"POST / HTTP/1.1\r\nHost: localhost\r\n"
PIECE = 4096


class Wire(asyncio.Transport):
    """Keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_extra_info(self, name: str, default: object = None) -> object:
        return default


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d bytes" % size})


async def sent(data: bytes) -> Wire:
    """What a server answers to these bytes, come in pieces."""
    config = uvicorn.Config(app, http=BoundedHttp, log_config=None)
    protocol = BoundedHttp(config=config, server_state=ServerState(), app_state={})
    wire = Wire()
    protocol.connection_made(wire)
    for start in range(0, len(data), PIECE):
        if not wire.closed:
            protocol.data_received(data[start : start + PIECE])
    for _ in range(10):
        await asyncio.sleep(0)
    return wire


@pytest.mark.parametrize(
    "bomb",
    [
        b"POST /" + b"a" * 1_000_000,
        START + b"X-A: " + b"a" * 1_000_000,
        START + b"X-A: b\r\n" * 100_000,
        START + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n" + b"X-A: b\r\n" * 100_000,
    ],
    ids=["url", "one header", "headers", "trailers"],
)
async def test_nobody_fills_the_memory_with_a_head_that_never_ends(bomb: bytes):
    wire = await sent(bomb)
    assert wire.closed
    assert wire.written.startswith(b"HTTP/1.1 400 ")


async def test_a_large_head_and_a_large_body_are_taken():
    head = START + b"X-A: " + b"a" * (LARGEST_HEAD_BYTES - 2 * PIECE) + b"\r\nContent-Length: 1000000\r\n\r\n"
    wire = await sent(2 * (head + b"b" * 1_000_000))
    assert wire.written.count(b"1000000 bytes") == 2
    assert not wire.closed


class Later(asyncio.AbstractEventLoop):
    """The loop with a clock that goes only when it is told to."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.timers: list[asyncio.TimerHandle] = []

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any, context: Any = None):  # noqa: ANN401
        self.timers.append(asyncio.TimerHandle(self.now_s + delay, callback, args, self, context))
        return self.timers[-1]

    def create_task(self, coro: Any, **named: Any) -> asyncio.Task[Any]:  # noqa: ANN401
        return asyncio.get_running_loop().create_task(coro, **named)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None: ...

    def get_debug(self) -> bool:
        return False

    async def go_on(self, seconds: float) -> None:
        self.now_s += seconds
        for timer in [one for one in self.timers if one.when() <= self.now_s]:
            self.timers.remove(timer)
            if not timer.cancelled():
                timer._run()
        for _ in range(10):
            await asyncio.sleep(0)


class Client:
    """At the other end of a wire, in its own time."""

    def __init__(self, answer: Any = app) -> None:  # noqa: ANN401 uvicorn's own type for an ASGI application
        self.loop, self.wire = Later(), Wire()
        config = uvicorn.Config(answer, http=BoundedHttp, log_config=None, timeout_keep_alive=IDLE_S)
        self.protocol = BoundedHttp(config=config, server_state=ServerState(), app_state={}, _loop=self.loop)
        self.protocol.connection_made(self.wire)

    async def sends(self, data: bytes, *, then_waits_s: float) -> None:
        if not self.wire.closed:
            self.protocol.data_received(data)
        await self.loop.go_on(0)  # what was asked is answered at once
        await self.loop.go_on(then_waits_s)


WHOLE = START + b"Content-Length: 1\r\n\r\na"
ANSWERED = b"1 bytes"


async def test_a_connection_that_never_asks_is_closed():
    client = Client()
    await client.loop.go_on(IDLE_S - 1)
    assert not client.wire.closed
    await client.loop.go_on(1)
    assert client.wire.closed


@pytest.mark.parametrize("before", [b"", WHOLE], ids=["the first", "a later one"])
async def test_a_head_that_comes_byte_by_byte_is_refused_in_time(before: bytes):
    client = Client()
    await client.sends(before, then_waits_s=0) if before else None
    for byte in START[: HEAD_S - 1]:
        await client.sends(bytes([byte]), then_waits_s=1)
    assert not client.wire.closed
    await client.sends(b"a", then_waits_s=1)
    assert client.wire.closed
    assert b"the head of the request did not come within 30 s" in client.wire.written


async def test_empty_lines_between_requests_keep_no_connection():
    client = Client()
    await client.sends(WHOLE, then_waits_s=0)
    for _ in range(IDLE_S):
        await client.sends(b"\r\n", then_waits_s=1)
    assert client.wire.closed


async def test_a_body_may_come_slowly_but_not_stop():
    client = Client()
    await client.sends(START + b"Content-Length: 10\r\n\r\n", then_waits_s=0)
    for _ in range(8):
        await client.sends(b"a", then_waits_s=SILENCE_S - 1)
    assert not client.wire.closed
    await client.loop.go_on(2 * SILENCE_S)
    assert client.wire.closed
    assert b"nothing of the request's body came for 60 s" in client.wire.written


async def test_a_long_answer_is_never_cut_whatever_is_sent_behind_the_request():
    done = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await done.wait()
        await app(scope, receive, send)

    client = Client(slow)
    await client.sends(WHOLE + WHOLE + START, then_waits_s=0)
    for _ in range(100):
        await client.loop.go_on(SILENCE_S)
    assert not client.wire.closed
    done.set()
    await client.loop.go_on(0)
    await client.loop.go_on(0)
    assert client.wire.written.count(ANSWERED) == 2
    await client.loop.go_on(IDLE_S)
    assert client.wire.closed


async def test_a_connection_is_kept_for_the_next_request():
    client = Client()
    for _ in range(5):
        await client.sends(WHOLE, then_waits_s=IDLE_S - 1)
    assert client.wire.written.count(ANSWERED) == 5
    assert not client.wire.closed
