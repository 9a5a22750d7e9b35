"""The hub's client over real sockets: what only aiohttp can show."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager

import pytest
from aiohttp import web

from partage.client.hub_client import HubClient
from partage.errors import EngineCrashed, EngineTimedOut, HubUnreachable, ModelNotFound, QueueFull
from partage.work import Message

pytestmark = pytest.mark.live

HELLO = [Message(role="user", content="hello")]


class FakeHub:
    """Says one word and then nothing more, until the client leaves."""

    def __init__(self) -> None:
        self.left = asyncio.Event()
        self.key = ""
        self.refusals = 1

    async def chat(self, request: web.Request) -> web.StreamResponse:
        self.key = request.headers.get("Authorization", "")
        model = (await request.json())["model"]
        if model == "nobody":
            return web.json_response({"error": "no such model"}, status=404)
        if model == "busy" and self.refusals:
            self.refusals -= 1
            return web.json_response({"error": "full"}, status=503, headers={"Retry-After": "0"})
        if model == "breaks":
            assert request.transport is not None
            request.transport.close()
        if model == "silent":
            await self.wait_left(request)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        await response.write(json.dumps({"message": {"content": "ä" * 200_000}}).encode() + b"\n")
        if model == "hangs":
            await self.wait_left(request)
        await response.write(b'{"message":{"content":""},"done":true}\n')
        return response

    async def wait_left(self, request: web.Request) -> None:
        while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110 - of a socket
            await asyncio.sleep(0.01)
        self.left.set()

    @asynccontextmanager
    async def client(self, *, retry: bool = True) -> AsyncGenerator[HubClient]:
        app = web.Application()
        app.router.add_post("/api/chat", self.chat)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            _, port = runner.addresses[0]
            async with HubClient(f"http://127.0.0.1:{port}/", api_key="k", retry=retry) as hub:
                yield hub
        finally:
            await runner.cleanup()


async def test_no_hub_is_said_with_what_to_do():
    async with HubClient("http://127.0.0.1:1") as hub:
        with pytest.raises(HubUnreachable, match="partage up"):
            await hub.version()
    async with HubClient("no address") as hub:
        with pytest.raises(HubUnreachable, match="no address"):
            await hub.version()


async def test_stream_with_a_line_larger_than_any_buffer_arrives_whole_and_the_key_is_sent():
    fake = FakeHub()
    async with fake.client() as hub:
        text = "".join([piece.text async for piece in hub.stream_chat("m", HELLO)])
    assert text == "ä" * 200_000
    assert fake.key == "Bearer k"


async def test_status_becomes_an_error_and_a_refusal_is_retried_if_wished():
    async with FakeHub().client() as hub:
        with pytest.raises(ModelNotFound, match="partage pull nobody"):
            await hub.chat("nobody", HELLO)
        assert [piece.done async for piece in hub.stream_chat("busy", HELLO)] == [False, True]
    async with FakeHub().client(retry=False) as hub:
        with pytest.raises(QueueFull, match="full"):
            await hub.chat("busy", HELLO)


async def test_connection_that_breaks_is_an_error_of_its_own():
    async with FakeHub().client() as hub:
        with pytest.raises(EngineCrashed, match="broke off"):
            await hub.chat("breaks", HELLO)


async def test_hub_sees_at_once_that_a_stream_was_left():
    fake = FakeHub()
    async with fake.client() as hub:
        async with aclosing(hub.stream_chat("hangs", HELLO)) as pieces:
            await anext(pieces)
        async with asyncio.timeout(5):
            await fake.left.wait()


@pytest.mark.parametrize("model", ["silent", "hangs"])
async def test_hub_sees_at_once_that_a_caller_gave_up(model: str):
    fake = FakeHub()
    async with fake.client() as hub:
        with pytest.raises(EngineTimedOut, match=r"0\.2 s"):
            [piece async for piece in hub.stream_chat(model, HELLO, timeout_s=0.2)]
        async with asyncio.timeout(5):
            await fake.left.wait()
