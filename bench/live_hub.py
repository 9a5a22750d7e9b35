"""A hub in a process of its own for the benches, which also says where its engines listen: to ask them directly."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import uvloop
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from partage.api.app import create_app
from partage.config import load_config
from partage.domain import JsonObject
from partage.hub.desk import Desk
from partage.hub.hub import Hub
from partage.hub.library import Library
from partage.models.pull import pull
from partage.models.store import Store
from partage.serve.http import bind, serve
from partage.serve.hub_service import api_settings, build_hub
from partage.serve.shop import workshop_of

CHAT, EMBED = "smollm2:135m", "all-minilm:22m"


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveHub:
    url: str
    pid: int
    session: aiohttp.ClientSession

    async def post(self, path: str, body: JsonObject) -> JsonObject:
        async with self.session.post(f"{self.url}{path}", json=body) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def status(self) -> JsonObject:
        async with self.session.get(f"{self.url}/admin/status") as answer:
            return await answer.json()

    async def engine_session(self, model: str) -> aiohttp.ClientSession:
        """A session that talks to the model's engine itself, past the hub; the base URL is http://engine."""
        async with self.session.get(f"{self.url}/bench/engines") as answer:
            socket_path, headers = (await answer.json())[model]
        return aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(socket_path, limit=0), headers=headers, timeout=aiohttp.ClientTimeout()
        )


@asynccontextmanager
async def live_hub(config: str = "") -> AsyncGenerator[LiveHub]:
    """A hub with both small models in the store, on a free port, in a home of its own."""
    models = await _models()
    async with AsyncExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="partage-bench-")))
        for folder in ("blobs", "models"):
            (home / folder).symlink_to(models / folder)
        (home / "partage.yaml").write_text(config)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.live_hub"),
            env={**os.environ, "PARTAGE_HOME": str(home), "PARTAGE_CONFIG": str(home / "partage.yaml")},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            assert process.stdout is not None
            url = json.loads(await process.stdout.readline())["ready"]
            timeout = aiohttp.ClientTimeout(total=600)
            session = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout))
            yield LiveHub(url=url, pid=process.pid, session=session)
        finally:
            process.terminate()
            await process.wait()


async def _models() -> Path:
    home = Path(tempfile.gettempdir(), f"partage-bench-models-{os.getuid()}")
    store = Store(home)
    for name in (CHAT, EMBED):
        if not store.exists(name):
            async for _ in pull(store, name):
                pass
    return home


def _engines(hub: Hub) -> Route:
    async def answer(request: Request) -> JSONResponse:
        found: dict[str, tuple[str, dict[str, str]]] = {}
        for resident in hub.residents.running.values():
            connection = resident.engine._upstream._connection  # type: ignore[attr-defined]  # noqa: SLF001
            found[resident.model.name] = (connection._socket_path, connection._headers)  # noqa: SLF001
        return JSONResponse(found)

    return Route("/bench/engines", answer)


async def _serve() -> None:
    config = load_config()
    workshop = workshop_of(config)
    hub = build_hub(config, Library(workshop.shelves, {}))
    app = create_app(Desk(hub, workshop), api_settings(config))
    app.router.routes.append(_engines(hub))
    async with hub.running():
        await serve(app, bind("127.0.0.1", 0, "bench"), announce=True, on_stop=hub.refuse_new)


if __name__ == "__main__":
    uvloop.run(_serve())
