"""500 requests from 16 clients over two models where only one fits: all answered, none wrong, never over the budget."""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path
from typing import cast

from bench.live_hub import CHAT, EMBED, LiveHub, live_hub
from partage.json_value import JsonObject

REQUESTS, CLIENTS = 500, 16
SAMPLE_EVERY_S = 0.02


async def ask(hub: LiveHub, number: int) -> float:
    began = time.perf_counter()
    if number % 2:
        answer = await hub.post("/api/embed", {"model": EMBED, "input": [f"text {number}", "hello"]})
        vectors = cast("list[list[float]]", answer["embeddings"])
        assert [len(vector) for vector in vectors] == [384, 384]
    else:
        body: JsonObject = {"model": CHAT, "stream": False, "options": {"num_predict": 4, "temperature": 0}}
        body["messages"] = [{"role": "user", "content": f"Say {number}."}]
        answer = await hub.post("/api/chat", body)
        assert answer["done"]
        assert cast("int", answer["eval_count"]) <= 4
    return time.perf_counter() - began


async def client(hub: LiveHub, numbers: range) -> list[float]:
    return [await ask(hub, number) for number in numbers]


async def watch(hub: LiveHub, most: list[int]) -> None:
    while True:
        status = await hub.status()
        (device,) = cast("list[dict[str, int]]", status["devices"])
        held = device["residents_bytes"] + device["loading_bytes"]
        assert held <= device["budget_bytes"], "over the budget"
        most.append(held)
        await asyncio.sleep(SAMPLE_EVERY_S)


async def needs(model_home: Path | None = None) -> list[int]:
    async with live_hub(model_home=model_home) as hub:
        for model in (CHAT, EMBED):
            await hub.post("/api/generate", {"model": model, "stream": False})
        status = await hub.status()
        return [cast("int", one["estimated_bytes"]) for one in cast("list[JsonObject]", status["residents"])]


async def measure() -> None:
    sizes = await needs()
    budget = max(sizes) + (8 << 20)
    assert sum(sizes) > budget
    async with live_hub(f"devices: [{{host: true, memory: {budget}}}]") as hub:
        most: list[int] = []
        began = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(watch(hub, most))
            async with asyncio.TaskGroup() as clients:
                asking = [clients.create_task(client(hub, range(one, REQUESTS, CLIENTS))) for one in range(CLIENTS)]
            watching.cancel()
        total = time.perf_counter() - began
        waits = sorted(wait for task in asking for wait in task.result())
        loads = await hub.loads()
    print(
        f"{len(waits)} of {REQUESTS} answered in {total:.1f} s with {loads} loads; wait p50 {statistics.median(waits):.2f} s, "
        f"p95 {waits[int(0.95 * len(waits))]:.2f} s, longest {waits[-1]:.2f} s; held at most {max(most) / 2**20:.0f} of "
        f"{budget / 2**20:.0f} MiB in {len(most)} samples"
    )


def main() -> None:
    asyncio.run(measure())


if __name__ == "__main__":
    main()
