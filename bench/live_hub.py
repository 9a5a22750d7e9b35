"""A hub in a process of its own for the benches, which also says where its engines listen: to ask them directly."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import msgspec
import uvloop
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from bench.census import Census, Seen, routes
from bench.pauses import Pauses
from partage.api.app import create_app
from partage.clock import SystemClock
from partage.config import load_config
from partage.engine.workers import Workers
from partage.hub.desk import Desk
from partage.hub.hub import Hub
from partage.hub.journal import Journal
from partage.hub.library import Library
from partage.hub.watch import watch_devices
from partage.json_value import JsonObject
from partage.models.pull import pull
from partage.models.store import Store
from partage.policy.events import Demand
from partage.policy.views import DeviceView
from partage.serve.collector import look_seldom
from partage.serve.devices import equipment_of
from partage.serve.http import bind, serve
from partage.serve.hub_service import a_worker_waits, api_settings, build_hub, watching, weigher_of
from partage.serve.shop import workshop_of
from partage.sim.peers import Peer
from partage.watch.watch import Watch

CHAT, EMBED = "smollm2:135m", "all-minilm:22m"


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveHub:
    url: str
    pid: int
    log: Path
    session: aiohttp.ClientSession

    async def post(self, path: str, body: JsonObject) -> JsonObject:
        async with self.session.post(f"{self.url}{path}", json=body) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def status(self) -> JsonObject:
        async with self.session.get(f"{self.url}/admin/status") as answer:
            return await answer.json()

    async def loads(self) -> int:
        """Engines that became ready so far."""
        async with self.session.get(f"{self.url}/bench/seen") as answer:
            return (await answer.json(content_type=None)).get("EngineReady", 0)

    async def census(self) -> Census:
        async with self.session.get(f"{self.url}/bench/census") as answer:
            return msgspec.json.decode(await answer.read(), type=Census)

    async def engine_session(self, model: str) -> aiohttp.ClientSession:
        """A session that talks to the model's engine itself, past the hub; the base URL is http://engine."""
        async with self.session.get(f"{self.url}/bench/engines") as answer:
            socket_path, key = (await answer.json())[model]
        headers = {"Authorization": f"Bearer {key}"}
        return aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(socket_path, limit=0), headers=headers, timeout=aiohttp.ClientTimeout()
        )


@asynccontextmanager
async def live_hub(
    config: str = "", *, in_order: bool = False, model_home: Path | None = None, whole: bool = False
) -> AsyncGenerator[LiveHub]:
    """A hub with both small models in the store, on a free port, in a home of its own.

    `in_order`: not with our policy, but first come, first served, with a swap at each alternation. `model_home`: where the
    models are; they are fetched otherwise. `whole`: with all that runs beside it (journal, watch, weighing, a waiting worker).
    """
    models = model_home or await bench_models()
    async with AsyncExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="partage-bench-")))
        for folder in ("blobs", "models"):
            (home / folder).symlink_to(models / folder)
        (home / "partage.yaml").write_text(config)
        log = stack.enter_context((home / "hub.log").open("wb"))
        process = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                "-m",
                "bench.live_hub",
                *(["--in-order"] if in_order else []),
                *(["--whole"] if whole else []),
            ),
            env={**os.environ, "PARTAGE_HOME": str(home), "PARTAGE_CONFIG": str(home / "partage.yaml")},
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
        try:
            assert process.stdout is not None
            line = await process.stdout.readline()
            assert line, (home / "hub.log").read_text()
            url = json.loads(line)["ready"]
            timeout = aiohttp.ClientTimeout(total=600)
            session = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout))
            yield LiveHub(url=url, pid=process.pid, log=home / "hub.log", session=session)
        finally:
            process.terminate()
            await process.wait()


async def bench_models() -> Path:
    home = Path(tempfile.gettempdir(), f"partage-bench-models-{os.getuid()}")
    store = Store(home)
    for name in (CHAT, EMBED):
        if not store.exists(name):
            async for _ in pull(store, name):
                pass
    return home


def _engines(hub: Hub) -> Route:
    async def answer(request: Request) -> JSONResponse:
        found: dict[str, tuple[str, str]] = {}
        for resident in hub.residents.running.values():
            connection = resident.engine._upstream._connection  # type: ignore[attr-defined]  # noqa: SLF001
            found[resident.model.name] = (connection._path, connection._key)  # noqa: SLF001
        return JSONResponse(found)

    return Route("/bench/engines", answer)


class InOrder(Peer):
    """Strictly first come, first served: the head waits for its model, whatever the others could use meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self._line: deque[Demand] = deque()

    def arrived(self, demand: Demand) -> None:
        self._line.append(demand)

    def step(self) -> None:
        while self._line:
            head = self._line[0]
            runner = self.runners.get(head.model)
            if runner is not None and not runner.stopping:
                if not runner.ready or len(runner.serving) == runner.placement.settings.slots:
                    return
                self.let_in(runner, self._line.popleft())
            elif self.runners:
                for other in self.runners.values():
                    if not other.referred and not other.stopping and other.ready:
                        self.stop(other)
                return
            else:
                placement = self.fitting(head.model)
                assert placement is not None
                self.start(head.model, placement)

    def queue_view(self) -> tuple[()]:
        return ()

    def residents_view(self) -> tuple[()]:
        return ()

    def ledger_view(self) -> tuple[DeviceView, ...]:
        return tuple(
            DeviceView(
                device=device.id,
                capacity_bytes=device.budget_bytes,
                strangers_bytes=0,
                residents_bytes=device.budget_bytes - self.free_bytes(device.id),
                leases_bytes=0,
                loading_bytes=0,
                promised_bytes=0,
                free_bytes=self.free_bytes(device.id),
            )
            for device in self.devices.values()
        )


async def _serve() -> None:
    config = load_config()
    workshop = workshop_of(config)
    watch, workers, seen, pauses = Watch(config, SystemClock(), "bench"), Workers(), Seen(), Pauses()
    whole = "--whole" in sys.argv
    observers = [seen, pauses, *(watch.observers if whole else ())]
    async with AsyncExitStack() as stack:
        journal = Journal(config.home / "journal" / "hub.jsonl", config.hub.journal_bytes)
        kept = stack.enter_context(journal) if whole else None
        equipment = equipment_of(config)
        hub = build_hub(config, equipment, Library(workshop.shelves, {}), kept, observers, workers=workers)
        if "--in-order" in sys.argv:
            hub.scheduler = InOrder()  # type: ignore[assignment] it decides, and shows only what it holds
        app = create_app(Desk(hub, workshop), api_settings(config), None, hub.leases)
        app.router.routes += [_engines(hub), *routes(hub, seen), pauses.route(hub)]
        await stack.enter_async_context(hub.running())
        if whole:
            await stack.enter_async_context(a_worker_waits(config, equipment, hub, workers))
            await stack.enter_async_context(watching(hub, watch))
            holdings = watch.sampler.holdings
            await stack.enter_async_context(watch_devices(hub, weigher_of(config, hub), gpus=holdings))
        look_seldom()
        await serve(app, bind("127.0.0.1", 0, "bench"), announce=True, on_stop=hub.refuse_new)


if __name__ == "__main__":
    uvloop.run(_serve())
