"""From a client's leaving until its engine has stopped working for it: p50, p99 and the longest, per phase, real engine.

    python -m bench.disconnect [--rounds 100]

Phases: queued (behind another request), loading (of its model), prefill (a long prompt is read), decoding (tokens come), whole
(an answer that is not streamed). Stopped means: the hub counts nobody served or queued, and the engine's own process stops
computing; while it loads there is nothing to stop but the place in the queue. The target is 250 ms at p99.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import time

import psutil

from bench.live_hub import CHAT, LiveHub, live_hub
from partage.json_value import JsonObject

CONFIG = f"models: {{'{CHAT}': {{slots: 1, context: 4096}}}}"
LONG = "The customer returned the goods because the box was broken. " * 250
ENDLESS: JsonObject = {"num_predict": 4000, "temperature": 1.5}
POLL_S = 0.002


def body(text: str, *, stream: bool) -> JsonObject:
    return {"model": CHAT, "messages": [{"role": "user", "content": text}], "stream": stream, "options": ENDLESS}


async def leave(hub: LiveHub, asked: JsonObject, after_s: float) -> None:
    """Ask, and hang up after a while."""
    host, _, port = hub.url.removeprefix("http://").rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    data = json.dumps(asked).encode()
    writer.write(b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
    try:
        await asyncio.sleep(after_s)
    finally:
        writer.close()


async def held(hub: LiveHub) -> tuple[int, int]:
    status = await hub.status()
    return len(status["queue"]), sum(one["serving"] for one in status["residents"])  # type: ignore[index, misc, arg-type, call-overload]


async def wait_held(hub: LiveHub, counts: tuple[int, int]) -> None:
    while await held(hub) != counts:  # noqa: ASYNC110 it can only be asked
        await asyncio.sleep(POLL_S)


async def stopped_s(hub: LiveHub, engine: psutil.Process, before: tuple[int, int]) -> float:
    """Seconds until the hub holds no more than before; if that is nothing, until the engine computes no more."""
    began_s = time.perf_counter()
    await wait_held(hub, before)
    while before == (0, 0):
        used = engine.cpu_times()
        asked_s = time.perf_counter()
        await asyncio.sleep(0.03)
        now = engine.cpu_times()
        if now.user - used.user <= 0.01:
            return asked_s - began_s
    return time.perf_counter() - began_s


async def phase(hub: LiveHub, engine: psutil.Process, name: str, rounds: int) -> list[float]:
    times: list[float] = []
    for number in range(rounds):
        await asyncio.sleep(0.02)
        match name:
            case "queued":
                async with asyncio.TaskGroup() as tasks:
                    busy = tasks.create_task(leave(hub, body("Count.", stream=True), 30))
                    await wait_held(hub, (0, 1))
                    await leave(hub, body("Count on.", stream=True), 0.05)
                    times.append(await stopped_s(hub, engine, (0, 1)))
                    busy.cancel()
                await stopped_s(hub, engine, (0, 0))
            case "loading":
                await hub.post("/api/generate", {"model": CHAT, "keep_alive": 0})
                await leave(hub, body("Count.", stream=True), 0.05 + random.random() / 5)
                began_s = time.perf_counter()
                await wait_held(hub, (0, 0))
                times.append(time.perf_counter() - began_s)
                await hub.post("/api/generate", {"model": CHAT})
            case "prefill":
                # Another beginning each time, or the prompt is found in the cache and already read.
                await leave(hub, body(f"{number} {random.random()} {LONG}", stream=True), 0.1 + random.random() / 4)
                times.append(await stopped_s(hub, engine, (0, 0)))
            case _:
                await leave(hub, body("Count.", stream=name == "decoding"), 0.3 + random.random() / 4)
                times.append(await stopped_s(hub, engine, (0, 0)))
    return sorted(times)


async def doze(lateness: list[float]) -> None:
    """How late this process wakes from a short sleep: what the machine itself adds to every figure."""
    while True:
        began_s = time.perf_counter()
        await asyncio.sleep(0.01)
        lateness.append(time.perf_counter() - began_s - 0.01)


async def measure(rounds: int) -> None:
    lateness: list[float] = []
    async with live_hub(CONFIG) as hub, asyncio.TaskGroup() as tasks:
        dozing = tasks.create_task(doze(lateness))
        await hub.post("/api/chat", {**body("Hello.", stream=False), "options": {"num_predict": 1}})
        (pid,) = [one["pid"] for one in (await hub.status())["residents"]]  # type: ignore[index, misc, union-attr, call-overload]
        engine = psutil.Process(pid)
        lateness.clear()
        for name in ("queued", "prefill", "decoding", "whole", "loading"):
            times = [1000 * each for each in await phase(hub, engine, name, rounds)]
            print(
                f"{name:9} p50 {times[len(times) // 2]:6.1f} ms, p99 {times[math.ceil(len(times) * 0.99) - 1]:6.1f} ms, "
                f"longest {times[-1]:6.1f} ms of {rounds} (target p99 250)",
                flush=True,
            )
            late = sorted(1000 * each for each in lateness)
            print(
                f"{'':9} meanwhile this process woke late by p99 {late[int(len(late) * 0.99)]:.1f} ms, at most {late[-1]:.1f} ms"
            )
            lateness.clear()
        dozing.cancel()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=100)
    asyncio.run(measure(arguments.parse_args().rounds))


if __name__ == "__main__":
    main()
