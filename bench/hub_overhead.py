"""What the hub adds to its own engine: median of non-streamed requests, and throughput of 8 streams, in one run.

Direct means: the same request to the same engine process over its unix socket, past the hub. The two take turns, so that
the machine's noise meets both. Everything is on: journal, watch, weighing. Targets: at most 1.5 ms at the median; at least 95 % of
the streaming throughput. Where others use the machine, compare the hub's own processor time.
"""

from __future__ import annotations

import asyncio
import statistics
import time

import aiohttp
import psutil

from bench.live_hub import CHAT, EMBED, live_hub
from partage.json_value import JsonObject

PAIRS = 150
STREAMS, STREAM_TOKENS, ROUNDS = 8, 96, 5
HELLO: JsonObject = {"messages": [{"role": "user", "content": "Say hello."}], "temperature": 0, "model": CHAT}
CONFIG = f"models: {{'{CHAT}': {{slots: {STREAMS}, context: 1024}}}}"


async def timed(session: aiohttp.ClientSession, url: str, body: JsonObject) -> float:
    began = time.perf_counter()
    async with session.post(url, json=body) as answer:
        assert answer.status == 200, await answer.text()
        await answer.read()
    return time.perf_counter() - began


async def pairs(
    name: str,
    ours: tuple[aiohttp.ClientSession, str],
    engine: tuple[aiohttp.ClientSession, str],
    body: JsonObject,
    hub: psutil.Process,
) -> None:
    for _ in range(10):
        await timed(*ours, body)
        await timed(*engine, body)
    through: list[float] = []
    direct: list[float] = []
    before = hub.cpu_times()
    for _ in range(PAIRS):
        through.append(await timed(*ours, body))
        direct.append(await timed(*engine, body))
    after = hub.cpu_times()
    used_s = (after.user + after.system - before.user - before.system) / PAIRS
    added = statistics.median(through) - statistics.median(direct)
    print(
        f"{name}: direct {1e3 * statistics.median(direct):.2f} ms, through the hub {1e3 * statistics.median(through):.2f} ms, "
        f"added {1e3 * added:.2f} ms at the median (target 1.5), "
        f"{1e3 * used_s:.2f} ms of the hub's processor time"
    )


async def stream(session: aiohttp.ClientSession, url: str, number: int) -> int:
    body = {**HELLO, "stream": True, "max_tokens": STREAM_TOKENS, "ignore_eos": True, "logit_bias": {"2": -100.0}}
    body["messages"] = [{"role": "user", "content": f"Count from {number}."}]
    pieces = 0
    async with session.post(url, json=body) as answer:
        assert answer.status == 200, await answer.text()
        async for line in answer.content:
            pieces += line.startswith(b"data: {")
    return pieces


async def throughput(session: aiohttp.ClientSession, url: str) -> float:
    began = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(stream(session, url, number)) for number in range(STREAMS)]
    return sum(task.result() for task in running) / (time.perf_counter() - began)


async def measure() -> None:
    async with live_hub(CONFIG, whole=True) as hub:
        process = psutil.Process(hub.pid)
        await hub.post("/v1/chat/completions", {**HELLO, "max_tokens": 1})
        await hub.post("/v1/embeddings", {"model": EMBED, "input": "hello"})
        chat_path, embed_path = "/v1/chat/completions", "/v1/embeddings"
        async with await hub.engine_session(CHAT) as chat, await hub.engine_session(EMBED) as embed:
            one = {**HELLO, "max_tokens": 1, "stream": False}
            await pairs(
                "chat, 1 token", (hub.session, hub.url + chat_path), (chat, "http://engine" + chat_path), one, process
            )
            eight = {**one, "max_tokens": 8}
            await pairs(
                "chat, 8 tokens",
                (hub.session, hub.url + chat_path),
                (chat, "http://engine" + chat_path),
                eight,
                process,
            )
            text: JsonObject = {"model": EMBED, "input": "hello"}
            await pairs(
                "embedding", (hub.session, hub.url + embed_path), (embed, "http://engine" + embed_path), text, process
            )
            ratios: list[float] = []
            for _ in range(ROUNDS):
                direct = await throughput(chat, "http://engine" + chat_path)
                through = await throughput(hub.session, hub.url + chat_path)
                ratios.append(through / direct)
                print(
                    f"{STREAMS} streams: direct {direct:.0f} chunks/s, through the hub {through:.0f}, ratio {through / direct:.3f}"
                )
            print(f"{STREAMS} streams: median ratio {statistics.median(ratios):.3f} (target 0.95)")


def main() -> None:
    asyncio.run(measure())


if __name__ == "__main__":
    main()
