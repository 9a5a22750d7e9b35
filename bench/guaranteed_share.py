"""What batch work gets beside a chat without a break: of the time, and of the processor, on a quiet and on a busy machine.

Promised is time: not stopped for 10 % of every 2 s (docs/policy.md, 7). What the operating system makes of that time, among
whatever else runs on the machine, is no promise of ours; "busy" is as many programs that compute as there are cores. Measured
are the holder of a lease of one core, of all cores, and an engine, over whole windows: from the start of one slice to another's.
A lease's time is the kernel's own count (on a core, or waiting for one), an engine's is what it was ordered, and tokens.

python -m bench guaranteed_share
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.beside_batch import CONFIG, JOB, Chat, body, job, pauses, pieces
from bench.live_hub import CHAT, LiveHub, live_hub

SECONDS, SETTLE_S, WINDOW_S = 24.0, 4.0, 2.0
LOOK_EVERY_S = 0.02
CORES = os.cpu_count() or 1
STREAMS = 3
SPINS = """
import os, sys
for _ in range(int(sys.argv[1]) - 1):
    if not os.fork():
        break
print("spins", flush=True)
while True:
    pass
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What somebody has had until then."""

    at_s: float
    on_core_s: float
    """Of all its threads."""
    runs_s: float
    """Not stopped: on a core, or waiting for one; of the thread that had least."""


def now(processes: list[psutil.Process]) -> Moment:
    threads: list[tuple[int, int]] = []
    for process in processes:
        for thread in Path(f"/proc/{process.pid}/task").iterdir():
            on_core, waited, _ = map(int, (thread / "schedstat").read_text().split())
            threads.append((on_core, on_core + waited))
    runs_s = min(runs for _, runs in threads) / 1e9
    return Moment(at_s=time.perf_counter(), on_core_s=sum(core for core, _ in threads) / 1e9, runs_s=runs_s)


async def whole_windows(processes: list[psutil.Process]) -> tuple[Moment, Moment]:
    """The start of the first slice, and of the last: whoever was stopped for half a window goes on."""
    starts: list[Moment] = []
    began_s = time.perf_counter()
    last, stopped_s = now(processes), began_s
    while time.perf_counter() < began_s + SECONDS:
        await asyncio.sleep(LOOK_EVERY_S)
        seen = now(processes)
        if seen.runs_s > last.runs_s:
            if seen.at_s - stopped_s > WINDOW_S / 2:
                starts.append(last)
            stopped_s = seen.at_s
        last = seen
    return (starts[0], starts[-1]) if len(starts) > 1 else (now(processes), last)


@contextmanager
def busy(number: int) -> Generator[None]:
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for one in others:
            one.kill()
            one.wait()


@asynccontextmanager
async def lease(hub: LiveHub, cores: int) -> AsyncGenerator[list[psutil.Process]]:
    """The processes that compute under it."""
    words = ["run", "--url", hub.url, "--class", "batch", "--memory", "100MiB", "--cores", str(cores)]
    run = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "partage", *words, "--", sys.executable, "-c", SPINS, str(cores)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert run.stdout is not None
        for _ in range(cores):
            await run.stdout.readline()
        yield [one for one in psutil.Process(run.pid).children(recursive=True) if one.cmdline()[1:3] == ["-c", SPINS]]
    finally:
        run.terminate()
        await run.wait()


@asynccontextmanager
async def chatting(hub: LiveHub) -> AsyncGenerator[Chat]:
    """A person who asks again at once, while inside."""
    chat = Chat()

    async def ask() -> None:
        number = 0
        while True:
            number += 1
            async for at_s in pieces(hub, "ana-key", body(CHAT, f"Tell me about the year {number}.", 32)):
                chat.first_s.append(at_s)

    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(ask())
        await asyncio.sleep(SETTLE_S)
        yield chat
        asking.cancel()


async def of_a_lease(hub: LiveHub, cores: int, how: str) -> None:
    async with lease(hub, cores) as processes, chatting(hub):
        first, last = await whole_windows(processes)
    passed_s = last.at_s - first.at_s
    runs, on_core = (last.runs_s - first.runs_s) / passed_s, (last.on_core_s - first.on_core_s) / passed_s / CORES
    print(
        f"lease of {cores} cores, {how}: not stopped {runs:.1%} of {passed_s:.0f} s (target 10); {on_core:.1%} of all cores"
    )


async def of_an_engine(hub: LiveHub, how: str) -> None:
    """Its streams are in the middle of their answers both times: reading prompts is not what is compared."""
    (found,) = [one for one in (await hub.census()).engines if one.model == f"{JOB}:latest"]
    process, made = [psutil.Process(found.pid)], list[float]()
    until_s = time.perf_counter() + 3 * SETTLE_S + SECONDS
    async with asyncio.TaskGroup() as tasks:
        streams = [tasks.create_task(job(hub, until_s, made)) for _ in range(STREAMS)]
        await asyncio.sleep(SETTLE_S / 2)
        alone = now(process), len(made)
        await asyncio.sleep(SETTLE_S)
        alone_s, alone_core_s = time.perf_counter() - alone[0].at_s, now(process).on_core_s - alone[0].on_core_s
        alone_rate = (len(made) - alone[1]) / alone_s
        async with chatting(hub):
            began, count, paused_s = now(process), len(made), await pauses(hub)
            await asyncio.sleep(SECONDS)
            ended, more, more_paused_s = now(process), len(made), await pauses(hub)
        for stream in streams:
            stream.cancel()
    passed_s = ended.at_s - began.at_s
    engine_s = [one["paused_s"].get(found.engine, 0.0) for one in (paused_s, more_paused_s)]  # type: ignore[attr-defined]
    runs, tokens = 1 - (engine_s[1] - engine_s[0]) / passed_s, (more - count) / passed_s / alone_rate
    on_core = (ended.on_core_s - began.on_core_s) / passed_s / (alone_core_s / alone_s)
    print(
        f"engine, {how}: not stopped {runs:.1%} of {passed_s:.0f} s (target 10); {tokens:.1%} of its tokens alone, "
        f"{on_core:.1%} of its processor time alone"
    )


async def measure() -> None:
    async with live_hub(CONFIG) as hub:
        await hub.post("/api/copy", {"source": CHAT, "destination": JOB})
        for model in (CHAT, JOB):
            await hub.post("/api/generate", {"model": model, "keep_alive": -1})
        for others in (0, CORES):
            how = f"beside {others} other programs" if others else "on the machine as it is"
            with busy(others):
                for cores in (1, CORES):
                    await of_a_lease(hub, cores, how)
                await of_an_engine(hub, how)
        async with hub.session.delete(f"{hub.url}/api/delete", json={"model": JOB}):
            pass


def main() -> None:
    print(f"load average {os.getloadavg()[0]:.1f}, {CORES} cores")
    asyncio.run(measure())


if __name__ == "__main__":
    main()
