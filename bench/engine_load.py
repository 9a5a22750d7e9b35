"""How much an Engine adds to llama.cpp: load until the first token, and cost per relayed token, as ratios in one run.

    python bench/engine_load.py MODEL.gguf [--rounds 7] [--threads 1]

By hand means: a plain Python program starts xllamacpp's Server on a unix socket with the same parameters and prints a
line when it is ready; then the same request is posted over the socket and read until its first token.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import cast

import aiohttp

from bench.by_hand import engine_by_hand
from partage.domain import LaunchSettings
from partage.engine.answers import ChatReader, stream_answer
from partage.engine.bodies import chat_json
from partage.engine.connection import Connection
from partage.engine.llamacpp import LlamaCpp
from partage.engine.spec import LaunchSpec
from partage.json_value import JsonObject
from partage.work import ChatWork, Delta, Message, Sampling

WORK = ChatWork(messages=(Message(role="user", content="Say hello."),), sampling=Sampling(max_tokens=4, temperature=0))


async def through_engine(spec: LaunchSpec) -> tuple[float, float]:
    began = time.perf_counter()
    engine = LlamaCpp(spec)
    try:
        await engine.start()
        ready_s = time.perf_counter() - began
        async with aclosing(engine.stream(WORK)) as outputs:
            async for output in outputs:
                if isinstance(output, Delta):
                    break
        return ready_s, time.perf_counter() - began
    finally:
        await engine.stop(5.0)


async def by_hand(spec: LaunchSpec) -> tuple[float, float]:
    async with engine_by_hand(spec) as engine:
        connector = aiohttp.UnixConnector(engine.socket_path)
        headers = {"Authorization": "Bearer key"}
        body: JsonObject = chat_json(WORK)
        async with (
            aiohttp.ClientSession(connector=connector, headers=headers) as session,
            session.post("http://engine/v1/chat/completions", json=body) as response,
        ):
            async for line in response.content:
                if b'"content":"' in line:
                    break
        return engine.ready_s, time.perf_counter() - engine.began


class Canned:
    """A Connection that has the whole answer at hand: what remains is our own cost."""

    def __init__(self, events: int) -> None:
        head = b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":" word"}}],"created":1795449345,'
        head += b'"id":"chatcmpl-BksUfWAo7tp0xOye2yHEnlsrv03Jl239","model":"m","object":"chat.completion.chunk"}'
        self._groups = [[head, b"", b""]] * events + [[b'data: {"choices":[{"finish_reason":"stop","delta":{}}]}', b""]]

    async def lines(self, path: str, body: object) -> AsyncGenerator[list[bytes]]:
        del path, body
        for group in self._groups:
            yield group


async def relay_cost_s(events: int = 50_000) -> float:
    canned = cast("Connection", Canned(events))
    began = time.perf_counter()
    async for _ in stream_answer(canned, "", {}, ChatReader()):
        pass
    return (time.perf_counter() - began) / events


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    settings = LaunchSettings(context_tokens=2048, slots=2, threads=arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        spec = LaunchSpec(id="bench", model_path=arguments.model, settings=settings, run_dir=folder)
        await by_hand(spec)  # warms the page cache
        pairs = [(await by_hand(spec), await through_engine(spec)) for _ in range(arguments.rounds)]
    for position, name in enumerate(("spawn to ready", "load to first token")):
        hand = statistics.median(pair[0][position] for pair in pairs)
        ours = statistics.median(pair[1][position] for pair in pairs)
        print(f"{name:20}  by hand {hand:6.3f} s   engine {ours:6.3f} s   ratio {ours / hand:5.2f}")
    print(f"{'read one token':20}  {await relay_cost_s() * 1e6:6.1f} us (SSE line to Delta, without the socket)")


if __name__ == "__main__":
    asyncio.run(main())
