"""How soon a batch engine that computes stands still when it is told to, and how soon it goes on; alone, and beside strangers.

python -m bench standstill

Standing still is the kernel's word to the parent that the last thread has stopped (waitid, WSTOPPED), waited for asleep: who
polls takes one of the cores on which the engine's threads have yet to arrive at their stop, and measures itself. A thread
that has no core at that moment computes nothing more, but only counts as stopped at its next turn on one: hence also what the
engine computed between the order and that word (its processor clock, all threads), which must not move afterwards. Going on
is the first turn on a core that a thread of it gets (its count in /proc/PID/task/*/schedstat, looked at every 50 us).
Strangers are processes that compute without end, one per core. Target: 5 ms each.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.live_hub import CHAT, bench_models
from partage.domain import LaunchSettings
from partage.engine.llamacpp import LlamaCpp
from partage.engine.spec import LaunchSpec
from partage.models.store import Store
from partage.work import ChatWork, Message, Sampling

PAUSES, TOKENS_BETWEEN, PAUSED_S = 20, 4, 0.02
LOOK_S = 50e-6
WAY_OUT_S = 200e-6
"""What the last thread may have left to do in the kernel: it tells the parent, then it stops."""
COUNT = ChatWork(messages=(Message(role="user", content="Count."),), sampling=Sampling(max_tokens=1500))


@dataclass
class Times:
    """Seconds, one for each pause."""

    still_s: list[float] = field(default_factory=list[float])
    computed_s: list[float] = field(default_factory=list[float])
    going_s: list[float] = field(default_factory=list[float])


def computed_s(pid: int) -> float:
    """By all its threads, those that have a core at this moment included (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)


def turns(pid: int) -> int:
    """How often a thread of it was given a core."""
    return sum(int((path / "schedstat").read_text().split()[2]) for path in Path(f"/proc/{pid}/task").iterdir())


def stand_still(engine: LlamaCpp, pid: int, times: Times) -> None:
    computed, began = computed_s(pid), time.perf_counter()
    engine.pause()
    os.waitid(os.P_PID, pid, os.WSTOPPED)
    times.still_s.append(time.perf_counter() - began)
    times.computed_s.append(computed_s(pid) - computed)


def go_on(engine: LlamaCpp, pid: int, times: Times) -> None:
    before, began = turns(pid), time.perf_counter()
    engine.resume()
    while turns(pid) == before:
        time.sleep(LOOK_S)
    times.going_s.append(time.perf_counter() - began)


async def measure(path: str, threads: int) -> Times:
    """In the middle of an answer."""
    times = Times()
    settings = LaunchSettings(context_tokens=2048, slots=1, threads=threads)
    with tempfile.TemporaryDirectory() as run_dir:
        engine = LlamaCpp(LaunchSpec(id="paused", model_path=path, settings=settings, run_dir=run_dir))
        pid = (await engine.start()).pid
        assert pid is not None
        try:
            while len(times.going_s) < PAUSES:
                async with aclosing(engine.stream(COUNT)) as outputs:
                    tokens = 0
                    async for _ in outputs:
                        tokens += 1
                        if tokens % TOKENS_BETWEEN or len(times.going_s) == PAUSES:
                            continue
                        stand_still(engine, pid, times)
                        computed = computed_s(pid)
                        await asyncio.sleep(PAUSED_S)
                        assert computed_s(pid) - computed < WAY_OUT_S, "it computed while it was paused"
                        go_on(engine, pid, times)
        finally:
            await engine.stop(1.0)
    return times


@contextmanager
def strangers(count: int) -> Generator[None]:
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for one in busy:
            one.kill()
            one.wait()


async def run() -> None:
    path = Store(await bench_models()).get(CHAT).path
    cores = len(os.sched_getaffinity(0))
    for others in (0, cores):
        for threads in sorted({max(1, cores - 1), cores}):
            with strangers(others):
                times = await measure(path, threads)
            print(f"{threads} threads on {cores} cores beside {others} strangers:")
            for what, values in (
                ("to stand still", times.still_s),
                ("computed meanwhile", times.computed_s),
                ("to go on", times.going_s),
            ):
                ms = sorted(1e3 * value for value in values)
                p95 = ms[int(0.95 * (len(ms) - 1))]
                print(
                    f"  {what:18} median {statistics.median(ms):.2f} ms, p95 {p95:.2f}, longest {ms[-1]:.2f} (target 5)"
                )


def main() -> None:
    asyncio.run(run())


if __name__ == "__main__":
    main()
