from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from partage.engine import child_connection
from partage.engine.child_connection import ENOUGH_BYTES, ChildConnection
from partage.errors import EngineCrashed, EngineError, EngineTimedOut, InvalidRequest

pytestmark = pytest.mark.live

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def whole(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


async def request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return head + await reader.readexactly(length)


class Seen:
    def __init__(self) -> None:
        self.connections = 0
        self.requests: list[bytes] = []
        self.left = asyncio.Event()
        """The other side has closed a connection."""


@asynccontextmanager
async def serving(
    path: Path, answer: Callable[[asyncio.StreamWriter], Awaitable[None]], idle_timeout_s: float = 5.0
) -> AsyncGenerator[tuple[ChildConnection, Seen]]:
    """`answer` is called for each request; what it leaves open stays open until the other side closes."""
    server = Seen()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        try:
            while True:
                server.requests.append(await request(reader))
                await answer(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            server.left.set()
        finally:
            writer.close()

    listener = await asyncio.start_unix_server(talk, path / "e.sock")
    connection = ChildConnection(str(path / "e.sock"), key="k", idle_timeout_s=idle_timeout_s)
    try:
        yield connection, server
    finally:
        await connection.close()
        listener.close()


async def test_a_kept_socket_that_is_closed_this_moment_takes_no_request(tmp_path: Path):
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(whole(b"1"))

    async with serving(tmp_path, answer) as (connection, server):
        assert await connection.get("/x") == b"1"
        for kept in connection._idle:
            kept.close()  # as its timer does, in the same round of the loop as the next request
        assert await connection.get("/x") == b"1"
    assert server.connections == 2


async def test_lines_come_whole_however_they_were_cut(tmp_path: Path):
    async def answer(writer: asyncio.StreamWriter) -> None:
        for piece in (CHUNKED[:20], CHUNKED[20:], chunk(b"a\nb"), chunk(b"c\n") + chunk(b"d"), b"0\r\n", b"\r\n"):
            writer.write(piece)
            await asyncio.sleep(0.01)

    async with serving(tmp_path, answer) as (connection, server):
        groups = [lines async for lines in connection.lines("/x", {"a": 1})]
    assert groups == [[b"a"], [b"bc"], [b"d"]]
    [asked] = server.requests
    assert asked.startswith(b"POST /x HTTP/1.1\r\nHost: engine\r\nAuthorization: Bearer k\r\n")
    assert asked.endswith(b'\r\n\r\n{"a":1}')


async def test_one_socket_serves_request_after_request_and_is_let_go_when_nobody_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(whole(b"yes"))

    monkeypatch.setattr(child_connection, "KEEP_S", 0.05)
    async with serving(tmp_path, answer) as (connection, server):
        assert [await connection.post("/x", {}), await connection.get("/y")] == [b"yes", b"yes"]
        assert server.connections == 1
        await asyncio.wait_for(server.left.wait(), 2)
        assert await connection.get("/z") == b"yes"
        assert server.connections == 2


async def test_stream_finds_the_socket_open_that_the_one_before_has_prepared(tmp_path: Path):
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + chunk(b"a\n") + b"0\r\n\r\n")

    async with serving(tmp_path, answer) as (connection, server):
        async with aclosing(connection.lines("/x", {})) as groups:
            assert await anext(groups) == [b"a"]
        assert server.connections == 2
        async with aclosing(connection.lines("/x", {})) as groups, aclosing(connection.lines("/x", {})) as others:
            assert [await anext(groups), await anext(others)] == [[b"a"], [b"a"]]
            assert server.connections == 4  # one more than the three that were used


async def test_only_one_socket_is_prepared_however_many_streams_begin_at_once(tmp_path: Path):
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + chunk(b"a\n") + b"0\r\n\r\n")

    async def stream(connection: ChildConnection) -> None:
        assert [lines async for lines in connection.lines("/x", {})] == [[b"a"]]

    async with serving(tmp_path, answer) as (connection, server):
        async with asyncio.TaskGroup() as group:
            for _ in range(16):
                group.create_task(stream(connection))
        assert server.connections == 17


async def test_who_leaves_a_stream_closes_its_socket_at_once(tmp_path: Path):
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + chunk(b"a\n"))

    async with serving(tmp_path, answer) as (connection, server):
        async with aclosing(connection.lines("/x", {})) as groups:
            assert await anext(groups) == [b"a"]
            assert not server.left.is_set()
        await asyncio.wait_for(server.left.wait(), 0.5)


@pytest.mark.parametrize("sent", [b"", CHUNKED, CHUNKED + chunk(b"a\n")], ids=["nothing", "the head", "a line"])
async def test_socket_that_closes_too_soon_is_a_crash(tmp_path: Path, sent: bytes):
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        writer.close()

    async with serving(tmp_path, answer) as (connection, _):
        with pytest.raises(EngineCrashed, match="in the middle"):
            _ = [lines async for lines in connection.lines("/x", {})]


async def test_what_is_not_http_and_what_is_an_error_are_told_apart(tmp_path: Path):
    answers = [b"hello\r\n\r\n", whole(b'{"error":{"message":"bad"}}', b"400 Bad Request")]

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(answers.pop(0))

    async with serving(tmp_path, answer) as (connection, _):
        with pytest.raises(EngineError, match="unreadable"):
            await connection.post("/x", {})
        with pytest.raises(InvalidRequest, match="bad"):
            await connection.post("/x", {})


async def test_silence_ends_a_request_but_not_while_the_server_is_paused(tmp_path: Path):
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED)

    async with serving(tmp_path, answer, idle_timeout_s=0.2) as (connection, _):
        connection.pause()
        asking = asyncio.ensure_future(connection.post("/x", {}))
        await asyncio.sleep(0.4)
        assert not asking.done()
        connection.resume()
        with pytest.raises(EngineTimedOut, match=r"0\.2 s"):
            await asyncio.wait_for(asking, 2)


async def test_pausing_again_and_again_does_not_renew_the_patience(tmp_path: Path):
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED)

    async with serving(tmp_path, answer, idle_timeout_s=0.2) as (connection, _):
        asking = asyncio.ensure_future(connection.post("/x", {}))
        for _ in range(8):
            await asyncio.sleep(0.05)
            connection.pause()
            connection.pause()
            connection.resume()
            connection.resume()
        with pytest.raises(EngineTimedOut):
            await asyncio.wait_for(asking, 0.05)


async def test_server_waits_for_a_slow_reader(tmp_path: Path):
    sent = 0

    async def answer(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(CHUNKED)
        for _ in range(100):
            writer.write(chunk(b"x" * (ENOUGH_BYTES // 4 - 1) + b"\n"))
            await writer.drain()
            sent += 1
        writer.write(b"0\r\n\r\n")

    async with serving(tmp_path, answer) as (connection, _), aclosing(connection.lines("/x", {})) as groups:
        count = len(await anext(groups))
        await asyncio.sleep(0.2)
        assert sent < 20
        async for lines in groups:
            count += len(lines)
        assert count == 100


async def test_requests_that_wait_are_told_when_the_connection_is_closed_and_later_ones_too(tmp_path: Path):
    async def answer(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0)

    async with serving(tmp_path, answer) as (connection, _):
        asking = asyncio.ensure_future(connection.post("/x", {}))
        await asyncio.sleep(0.05)
        await connection.close()
        with pytest.raises(EngineCrashed, match="closed the connection"):
            await asking
        with pytest.raises(EngineCrashed, match="has ended"):
            await connection.get("/health")


async def test_socket_that_is_not_there_is_a_crash(tmp_path: Path):
    connection = ChildConnection(str(tmp_path / "none.sock"), key="k", idle_timeout_s=1.0)
    with pytest.raises(EngineCrashed, match="does not take connections"):
        await connection.get("/health")
