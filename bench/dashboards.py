"""What open dashboards cost a busy hub: 200 clients, 50 requests/s, and pages that look once a second; CPU of the hub's process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncGenerator, Coroutine
from pathlib import Path

import aiohttp
import psutil

from bench.live_hub import EMBED, bench_models

CLIENTS, REQUESTS_PER_S = 200, 50
ROUNDS, SECONDS = 5, 6.0
LOOKED_AT = ("/admin/status", "/admin/alerts", "/admin/machine")
DASHBOARDS = {"no dashboard": 0, "20 pages of one `partage dashboard`": 1, "20 dashboards with a page each": 20}


@contextlib.asynccontextmanager
async def busy_hub() -> AsyncGenerator[tuple[str, psutil.Process]]:
    """`partage hub` with a key for each client."""
    models = await bench_models()
    with tempfile.TemporaryDirectory(prefix="partage-bench-") as folder:
        home = Path(folder)
        for name in ("blobs", "models"):
            (home / name).symlink_to(models / name)
        keys = "\n".join(f"  client{n}: {{key: key{n}}}" for n in range(CLIENTS))
        (home / "partage.yaml").write_text(f"clients:\n{keys}\n")
        with (home / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "partage", "hub", "--port", "0", "--announce"),
                env={**os.environ, "PARTAGE_HOME": folder},
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        try:
            assert process.stdout is not None
            yield json.loads(await process.stdout.readline())["ready"], psutil.Process(process.pid)
        finally:
            process.terminate()
            await process.wait()


async def ask_for_ever(session: aiohttp.ClientSession, url: str) -> None:
    """Every client in its turn, so many requests a second."""
    number = 0
    async with asyncio.TaskGroup() as tasks:
        while True:
            tasks.create_task(ask(session, url, number % CLIENTS))
            number += 1
            await asyncio.sleep(1 / REQUESTS_PER_S)


async def ask(session: aiohttp.ClientSession, url: str, client: int) -> None:
    headers = {"authorization": f"Bearer key{client}"}
    async with session.post(f"{url}/api/embed", json={"model": EMBED, "input": "hello"}, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        await answer.read()


async def look_for_ever(session: aiohttp.ClientSession, url: str, delay_s: float) -> None:
    """As dashboard/poller.py does, once a second."""
    await asyncio.sleep(delay_s)
    while True:
        for path in LOOKED_AT:
            async with session.get(url + path) as answer:
                assert answer.status == 200, (path, await answer.text())
                await answer.read()
        await asyncio.sleep(1.0)


@contextlib.asynccontextmanager
async def running(*work: Coroutine[None, None, None]) -> AsyncGenerator[None]:
    async with asyncio.TaskGroup() as tasks:
        started = [tasks.create_task(one) for one in work]
        yield
        for one in started:
            one.cancel()


async def cpu_share(session: aiohttp.ClientSession, url: str, hub: psutil.Process, dashboards: int) -> float:
    """Of one core, while so many look."""
    lookers = [look_for_ever(session, url, number / dashboards) for number in range(dashboards)]
    async with running(*lookers):
        before = hub.cpu_times()
        await asyncio.sleep(SECONDS)
        after = hub.cpu_times()
    return (after.user + after.system - before.user - before.system) / SECONDS


async def measure() -> None:
    async with busy_hub() as (url, hub), aiohttp.ClientSession() as session:
        for client in range(CLIENTS):
            await ask(session, url, client)
        shares: dict[str, list[float]] = {what: [] for what in DASHBOARDS}
        async with running(ask_for_ever(session, url)):
            for _ in range(ROUNDS):  # in turns: the machine's noise meets all of them
                for what, dashboards in DASHBOARDS.items():
                    shares[what].append(await cpu_share(session, url, hub, dashboards))
        alone = statistics.median(shares["no dashboard"])
        for what, measured in shares.items():
            share = statistics.median(measured)
            print(f"{what:40} {share:6.1%} of one core, {share - alone:+6.1%} (goal for 20 pages: less than +5 %)")
        async with session.get(f"{url}/admin/status") as answer:
            print(f"{len(await answer.read()) >> 10} KiB of status for {CLIENTS} clients")


def main() -> None:
    asyncio.run(measure())


if __name__ == "__main__":
    main()
