"""From the order to a ready engine: by hand, with a new worker, and with the one that waits; and the engine's own load.

    python -m bench fast_start          or: python bench/fast_start.py [--rounds 7] [--threads 1]

By hand is a fresh Python that starts xllamacpp's Server: with llama.cpp's own defaults, as people do, and with our
parameters (no warm-up, ...), where only the waiting worker makes the difference; the load itself is what the constructor
takes there. The rounds take turns, forwards and backwards, so that whatever else the machine does meets all alike; printed
are medians. Where others compute, `chrt -r 1 python -m bench fast_start` keeps them away from all alike. The second model
has the shape of a 1B llama in Q8_0 with random weights (1.1 GB). Both are in the page cache.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil

from bench.by_hand import engine_by_hand
from bench.live_hub import CHAT, bench_models
from bench.random_model import LLAMA_1B, make
from partage.domain import LaunchSettings
from partage.engine.launch import environment
from partage.engine.llamacpp import LlamaCpp
from partage.engine.spec import HOST, LaunchSpec
from partage.engine.workers import Workers
from partage.models.anatomy import anatomy
from partage.models.gguf_header import read_header
from partage.models.store import Store
from partage.policy.footprint import estimate

LOOK_S = 0.5


async def by_hand(spec: LaunchSpec) -> tuple[float, float]:
    """Seconds from spawn to ready, and of the load alone."""
    async with engine_by_hand(spec) as engine:
        return engine.ready_s, engine.load_s


async def by_hand_plain(spec: LaunchSpec) -> float:
    async with engine_by_hand(spec, tuned=False) as engine:
        return engine.ready_s


async def by_engine(spec: LaunchSpec, workers: Workers) -> float:
    began = time.perf_counter()
    engine = LlamaCpp(spec, workers)
    try:
        await engine.start()
        return time.perf_counter() - began
    finally:
        await engine.stop(5.0)


async def by_waiting_worker(spec: LaunchSpec, workers: Workers) -> float:
    await workers.look(lambda: True)
    assert workers.spare_pid is not None
    worker, before = psutil.Process(workers.spare_pid), None
    while (now := worker.cpu_times()) != before:  # its imports are done when it computes no more
        before = now
        await asyncio.sleep(LOOK_S)
    return await by_engine(spec, workers)


async def measure(name: str, spec: LaunchSpec, rounds: int) -> None:
    waiting = Workers()
    load_s: list[float] = []

    async def with_our_parameters() -> float:
        ready_s, alone_s = await by_hand(spec)
        load_s.append(alone_s)
        return ready_s

    ways: dict[str, Callable[[], Awaitable[float]]] = {
        "by hand": lambda: by_hand_plain(spec),
        "with our parameters": with_our_parameters,
        "new worker": lambda: by_engine(spec, Workers()),
        "waiting worker": lambda: by_waiting_worker(spec, waiting),
    }
    took_s: dict[str, list[float]] = {way: [] for way in ways}
    async with waiting.waiting(environment(spec.settings.threads, (HOST,)), lambda: False):
        await by_hand(spec)  # warms the page cache
        for number in range(rounds):
            for way in ways if number % 2 else reversed(ways):
                took_s[way].append(await ways[way]())
    middle = {way: statistics.median(times) for way, times in took_s.items()}
    print(
        f"{name}: by hand {middle['by hand']:.3f} s; with our parameters {middle['with our parameters']:.3f} s, ",
        end="",
    )
    print(f"of that the load itself {statistics.median(load_s):.3f} s")
    for way in ("new worker", "waiting worker"):
        ratios = ", ".join(
            f"{middle[way] / against:.2f} x {what}"
            for what, against in (
                ("by hand", middle["by hand"]),
                ("with our parameters", middle["with our parameters"]),
                ("the load itself", statistics.median(load_s)),
            )
        )
        print(f"  {way:14} {middle[way]:.3f} s (least {min(took_s[way]):.3f}): {ratios}")


async def run(rounds: int, threads: int) -> None:
    chat = Store(await bench_models()).get(CHAT).path
    with tempfile.TemporaryDirectory(prefix="partage-bench-") as folder:
        large = Path(folder, "1b.gguf")
        make(large, LLAMA_1B, "Q8_0", Path(chat))
        for name, path, slots, context in (
            (CHAT, chat, 2, 2048),
            (CHAT, chat, 4, 4096),
            ("1B Q8_0", str(large), 2, 2048),
        ):
            settings = LaunchSettings(context_tokens=context, slots=slots, threads=threads)
            kv_bytes = estimate(anatomy(read_header(Path(path))), settings).kv_bytes
            spec = LaunchSpec(id="bench", model_path=path, settings=settings, run_dir=folder, writes_bytes=kv_bytes)
            await measure(f"{name}, {slots} x {context} tokens", spec, rounds)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    asyncio.run(run(arguments.rounds, arguments.threads))


if __name__ == "__main__":
    main()
