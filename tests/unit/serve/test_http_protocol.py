from __future__ import annotations

import asyncio

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from partage.serve.http_protocol import LARGEST_HEAD_BYTES, BoundedHttp

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
