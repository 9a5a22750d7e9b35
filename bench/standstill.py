"""How soon a batch engine that computes stands still when it is told to, and how soon it goes on; alone, and beside strangers.

python -m bench standstill

Standing still is the kernel's word to the parent that the last thread has stopped (waitid, WSTOPPED), waited for asleep: who
polls takes one of the cores on which the engine's threads have yet to arrive at their stop, and measures itself. Going on
is the first turn on a core that a thread of it gets (its count in /proc/PID/task/*/schedstat, looked at every 50 us). Between
the two the processor time of all its threads must not grow. Strangers are processes that compute without end, one per core.
Target: 5 ms each.
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
from pathlib import Path
from typing import NamedTuple

from bench.live_hub import CHAT, bench_models
from partage.domain import LaunchSettings
from partage.engine.llamacpp import LlamaCpp
from partage.engine.spec import LaunchSpec
from partage.models.store import Store
from partage.work import ChatWork, Message, Sampling

PAUSES, TOKENS_BETWEEN, PAUSED_S = 40, 4, 0.02
LOOK_S = 50e-6
COUNT = ChatWork(messages=(Message(role="user", content="Count."),), sampling=Sampling(max_tokens=1500))


class Ran(NamedTuple):
    """What all threads of a process have had of the processor."""

    ns: int
    turns: int


def ran(pid: int) -> Ran:
    threads = [(path / "schedstat").read_text().split() for path in Path(f"/proc/{pid}/task").iterdir()]
    return Ran(sum(int(ns) for ns, _, _ in threads), sum(int(turns) for _, _, turns in threads))


def wait_still(engine: LlamaCpp, pid: int) -> float:
    began = time.perf_counter()
    engine.pause()
    os.waitid(os.P_PID, pid, os.WSTOPPED)
    return time.perf_counter() - began


def wait_going(engine: LlamaCpp, pid: int) -> float:
    before = ran(pid).turns
    began = time.perf_counter()
    engine.resume()
    while ran(pid).turns == before:
        time.sleep(LOOK_S)
    return time.perf_counter() - began


async def measure(path: str, threads: int) -> tuple[list[float], list[float]]:
    """Seconds to stand still, and to go on, in the middle of an answer."""
    stopping, going = list[float](), list[float]()
    settings = LaunchSettings(context_tokens=2048, slots=1, threads=threads)
    with tempfile.TemporaryDirectory() as run_dir:
        engine = LlamaCpp(LaunchSpec(id="paused", model_path=path, settings=settings, run_dir=run_dir))
        pid = (await engine.start()).pid
        assert pid is not None
        try:
            while len(going) < PAUSES:
                async with aclosing(engine.stream(COUNT)) as outputs:
                    tokens = 0
                    async for _ in outputs:
                        tokens += 1
                        if tokens % TOKENS_BETWEEN or len(going) == PAUSES:
                            continue
                        stopping.append(wait_still(engine, pid))
                        still = ran(pid)
                        await asyncio.sleep(PAUSED_S)
                        assert ran(pid) == still, "it computed while it was paused"
                        going.append(wait_going(engine, pid))
        finally:
            await engine.stop(1.0)
    return stopping, going


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
                stopping, going = await measure(path, threads)
            print(f"{threads} threads on {cores} cores beside {others} strangers:")
            for what, values in (("to stand still", stopping), ("to go on", going)):
                ms = sorted(1e3 * value for value in values)
                p95 = ms[int(0.95 * (len(ms) - 1))]
                print(
                    f"  {what:14} median {statistics.median(ms):.2f} ms, p95 {p95:.2f}, longest {ms[-1]:.2f} (target 5)"
                )


def main() -> None:
    asyncio.run(run())


if __name__ == "__main__":
    main()
