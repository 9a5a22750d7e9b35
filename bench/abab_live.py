"""ABAB on real engines with memory for one of two models: ours against a swap at each alternation, in one run.

200 requests from 8 clients, each alternating between the chat and the embedding model. Target: at least 3x sooner.
"""

from __future__ import annotations

import asyncio
import time

from bench.alternation import ask, needs
from bench.live_hub import LiveHub, live_hub

REQUESTS, CLIENTS = 200, 8


async def client(hub: LiveHub, first: int) -> list[float]:
    return [await ask(hub, first + number) for number in range(REQUESTS // CLIENTS)]


async def stream(budget_bytes: int, *, in_order: bool) -> tuple[float, list[float], int]:
    """(seconds in all, waits in order, loads)."""
    async with live_hub(f"devices: [{{host: true, memory: {budget_bytes}}}]", in_order=in_order) as hub:
        began = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            asking = [tasks.create_task(client(hub, first)) for first in range(CLIENTS)]
        total = time.perf_counter() - began
        return total, sorted(wait for task in asking for wait in task.result()), await hub.loads()


async def measure() -> None:
    budget_bytes = max(await needs()) + (8 << 20)
    seconds: list[float] = []
    for name, in_order in (("ours", False), ("a swap at each alternation", True)):
        total, waits, loads = await stream(budget_bytes, in_order=in_order)
        seconds.append(total)
        p50, p95 = waits[len(waits) // 2], waits[int(0.95 * len(waits))]
        print(f"{name}: {total:.1f} s, {loads} loads, wait p50 {p50:.2f} s, p95 {p95:.2f} s")
    print(f"ours is {seconds[1] / seconds[0]:.1f}x sooner (target 3)")


def main() -> None:
    asyncio.run(measure())


if __name__ == "__main__":
    main()
