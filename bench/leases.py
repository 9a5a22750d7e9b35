"""How long a lease takes: from asking to the grant on a free device, and from the end of its holder to free memory.

python -m bench leases [--rounds 200]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "live"))
from hub_process import HubProcess, running_hub

from partage.client.hub_client import HubClient

MIB = 1 << 20


def main(argv: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=200)
    rounds = options.parse_args(argv).rounds
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder, "models-of")
        for name in ("blobs", "models"):
            (models / name).mkdir(parents=True)
        with running_hub(Path(folder, "hub"), models, config="devices: [{host: true, memory: 1GiB}]\n") as hub:
            asyncio.run(_grants(hub, rounds))
            asyncio.run(_handed_on(hub, rounds))
            _killed(hub, 5)
            _whole_command(hub, 5)


async def _grants(hub: HubProcess, rounds: int) -> None:
    times: list[float] = []
    async with HubClient(hub.url) as client:
        for _ in range(rounds):
            begun_s = time.perf_counter()
            async with client.lease("500MiB"):
                times.append(time.perf_counter() - begun_s)
    _say("asked to granted, free device", times)


async def _handed_on(hub: HubProcess, rounds: int) -> None:
    """Two holders that always wait for each other: from one's leaving to the other's grant."""
    times: list[float] = []
    left_s = 0.0

    async def holder(client: HubClient) -> None:
        nonlocal left_s
        for _ in range(rounds // 2):
            async with client.lease("800MiB") as lease:
                if lease.waited_s > 0.005 and left_s:
                    times.append(time.perf_counter() - left_s)
                await asyncio.sleep(0.01)
                left_s = time.perf_counter()

    async with HubClient(hub.url) as one, HubClient(hub.url) as other, asyncio.TaskGroup() as tasks:
        tasks.create_task(holder(one))
        tasks.create_task(holder(other))
    _say("given back to granted to the next", times)


def _killed(hub: HubProcess, rounds: int) -> None:
    times: list[float] = []
    for _ in range(rounds):
        run = _run(hub, "sh", "-c", "sleep 1000 & sleep 1000")
        _until(lambda: any(one["pids"] for one in hub.status()["leases"]))
        os.kill(run.pid, signal.SIGKILL)
        begun_s = time.perf_counter()
        _until(lambda: hub.status()["devices"][0]["free_bytes"] == 1 << 30)
        times.append(time.perf_counter() - begun_s)
        run.wait()
    _say("kill -9 of partage run to free memory", times)


def _whole_command(hub: HubProcess, rounds: int) -> None:
    times: list[float] = []
    for _ in range(rounds):
        begun_s = time.perf_counter()
        _run(hub, "true").wait()
        times.append(time.perf_counter() - begun_s)
    _say("partage run -- true, all of it", times)


def _run(hub: HubProcess, *command: str) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "partage", "run", "--url", hub.url, "--memory", "500MiB", "--", *command]
    return subprocess.Popen(words, stderr=subprocess.DEVNULL)


def _until(holds: object) -> None:
    assert callable(holds)
    deadline_s = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def _say(what: str, times: list[float]) -> None:
    ordered = sorted(times)
    p95 = ordered[round(0.95 * (len(ordered) - 1))]
    print(f"{what}: median {statistics.median(ordered) * 1e3:.1f} ms, p95 {p95 * 1e3:.1f} ms ({len(ordered)} times)")


if __name__ == "__main__":
    main()
