"""What API and hub cost: CPU per streamed token and time per whole answer, over loopback, with engines that cost nothing.

    python -m bench.api_relay [--tokens 400] [--streams 64]

The server is a process of its own (uvicorn, uvloop, httptools), so that its CPU time is its own; the client is this one.
`instant`: all tokens are ready at once. `paced`: each of the streams gets a token, then the others do: no two of one
stream are ready together, as with real engines. Three servers: a bare ASGI application that sends the same bytes, the API
over a hub that does nothing, and the whole hub (policy, tickets). The last has the target: 60 us per token.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import socket
import statistics
import time
from collections.abc import AsyncGenerator
from typing import Any, Self

import aiohttp
import psutil
import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send

from bench.fuzz_hub import fuzz_hub
from partage.api.app import create_app
from partage.api.fake_hub import FakeHub
from partage.api.ports import ApiSettings
from partage.domain import Request
from partage.engine.fake import Behaviour, FakeEngine
from partage.work import ChatWork, CompletionWork, Delta, Done, Output, Usage, Work

LINE = b'{"model":"chatty","created_at":"2026-11-23T10:00:00.000000Z","done":false,"message":{"role":"assistant","content":" token"}}\n'


async def serve_tokens(request: Request) -> AsyncGenerator[Output, None]:
    """As many tokens as the request allows; seed 1 means paced."""
    assert isinstance(request.work, ChatWork | CompletionWork)
    sampling = request.work.sampling
    for _ in range(sampling.max_tokens or 1):
        if sampling.seed:
            await asyncio.sleep(0)
        yield Delta(text=" token")
    yield Done(finish_reason="length", usage=Usage(output_tokens=sampling.max_tokens or 1))


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    """The least any ASGI application can do: the same bytes, no request read beyond its length."""
    assert scope["type"] == "http"
    body = json.loads((await receive())["body"])
    paced = bool(body["options"]["seed"])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/x-ndjson")]})
    for _ in range(body["options"]["num_predict"]):
        if paced:
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": LINE, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


class Talker(FakeEngine):
    """Costs as little as an engine can: what is left is the hub's."""

    def stream(self, work: Work) -> AsyncGenerator[Output, None]:
        return _talk(work)


async def _talk(work: Work) -> AsyncGenerator[Output, None]:
    assert isinstance(work, ChatWork | CompletionWork)
    tokens = work.sampling.max_tokens or 1
    for _ in range(tokens):
        if work.sampling.seed:
            await asyncio.sleep(0)
        yield Delta(text=" token")
    yield Done(finish_reason="length", usage=Usage(output_tokens=tokens))


async def run_hub(listener: socket.socket) -> None:
    listener.listen(512)
    async with fuzz_hub(Behaviour(), slots=256, make=Talker, listener=listener):
        await asyncio.Event().wait()


def run_server(listener: socket.socket, kind: str) -> None:
    if kind == "hub":
        uvloop.run(run_hub(listener))
    app = bare if kind == "bare" else create_app(FakeHub(serve_tokens), ApiSettings(version="bench"))
    config = uvicorn.Config(app, loop="uvloop", http="httptools", log_level="warning", access_log=False, lifespan="off")
    uvicorn.Server(config).run(sockets=[listener])


class Server:
    def __init__(self, kind: str) -> None:
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=run_server, args=(self._listener, kind), daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        self._usage = psutil.Process(self._process.pid)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()

    def cpu_s(self) -> float:
        times = self._usage.cpu_times()
        return times.user + times.system


def body_for(path: str, *, stream: bool, tokens: int, paced: bool) -> dict[str, Any]:
    options = {"num_predict": tokens, "seed": int(paced)}
    conversation = [{"role": "user", "content": "hello"}]
    if path == "/api/generate":
        return {"model": "coder", "prompt": "hello", "stream": stream, "options": options}
    return {"model": "chatty", "messages": conversation, "stream": stream, "options": options, "max_tokens": tokens}


async def read(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> None:
    async with session.post(url, json=body) as response:
        assert response.status == 200, await response.text()
        async for _ in response.content.iter_any():
            pass


async def us_per_token(server: Server, path: str, streams: int, tokens: int, *, paced: bool) -> float:
    body = body_for(path, stream=True, tokens=tokens, paced=paced)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def once() -> None:
            async with asyncio.TaskGroup() as group:
                for _ in range(streams):
                    group.create_task(read(session, server.url + path, body))

        await once()
        before_s = server.cpu_s()
        rounds = 3
        for _ in range(rounds):
            await once()
        return (server.cpu_s() - before_s) / (rounds * streams * tokens) * 1e6


async def whole_p50_ms(server: Server, path: str) -> float:
    body = body_for(path, stream=False, tokens=1, paced=False)
    async with aiohttp.ClientSession() as session:

        async def one() -> float:
            began_s = time.perf_counter()
            await read(session, server.url + path, body)
            return (time.perf_counter() - began_s) * 1e3

        for _ in range(100):
            await one()
        return statistics.median([await one() for _ in range(1000)])


async def wait_up(server: Server) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(600):
            try:
                await read(session, server.url + "/api/chat", body_for("/api/chat", stream=True, tokens=1, paced=False))
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.1)
            else:
                return


async def report(streams: int, tokens: int) -> None:
    with Server("bare") as floor, Server("partage") as ours, Server("hub") as whole:
        for server in (floor, ours, whole):
            await wait_up(server)
        print(f"{'':38}{'bare':>10}{'the API':>10}{'the hub':>10}")
        for path in ("/api/chat", "/api/generate", "/v1/chat/completions", "/v1/messages"):
            for paced in (False, True):
                costs = [await us_per_token(one, path, streams, tokens, paced=paced) for one in (floor, ours, whole)]
                label = f"{path} {'paced' if paced else 'instant'}"
                print(f"{label:<32}us/tok" + "".join(f"{cost:10.1f}" for cost in costs))
            times_ms = [await whole_p50_ms(one, path) for one in (floor, ours, whole)]
            print(f"{path + ' whole, p50':<32}ms    " + "".join(f"{time_ms:10.2f}" for time_ms in times_ms))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--tokens", type=int, default=400)
    arguments.add_argument("--streams", type=int, default=64)
    parsed = arguments.parse_args()
    asyncio.run(report(parsed.streams, parsed.tokens))


if __name__ == "__main__":
    main()
