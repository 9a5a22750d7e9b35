"""Docker's API on a unix socket, as far as the hub reads it: answers as recorded, events when the test says so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler


class FakeDocker:
    def __init__(self) -> None:
        self.containers: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self._streams: list[asyncio.Queue[bytes | None]] = []

    def add(self, name: str, address: str, **labels: str) -> str:
        id_ = name.encode().hex().ljust(64, "0")[:64]
        self.containers[id_] = {
            "Id": id_,
            "Name": f"/{name}",
            "RestartCount": 0,
            "State": {"Running": True, "OOMKilled": False},
            "Config": {"Image": "test", "Labels": {f"partage.{key}": value for key, value in labels.items()}},
            "HostConfig": {"Memory": 0},
            "NetworkSettings": {"Networks": {"bridge": {"IPAddress": address}}},
        }
        return id_

    def say(self, action: str, id_: str) -> None:
        event = {"Type": "container", "Action": action, "Actor": {"ID": id_, "Attributes": {}}, "time": 1}
        for stream in self._streams:
            stream.put_nowait(json.dumps(event).encode() + b"\n")

    def hang_up(self) -> None:
        for stream in self._streams:
            stream.put_nowait(None)

    @asynccontextmanager
    async def serving(self, socket: Path) -> AsyncGenerator[None]:
        app = web.Application(middlewares=[self._reading_only])
        app.router.add_get("/version", self._version)
        app.router.add_get("/v1.47/containers/json", self._list)
        app.router.add_get("/v1.47/containers/{id}/json", self._inspect)
        app.router.add_get("/v1.47/containers/{id}/stats", self._stats)
        app.router.add_get("/v1.47/events", self._events)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.UnixSite(runner, str(socket)).start()
        try:
            yield
        finally:
            self.hang_up()
            await runner.cleanup()

    @web.middleware
    async def _reading_only(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path}")
        return await handler(request)

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({"ApiVersion": "1.47", "Version": "27.0"})

    async def _stats(self, request: web.Request) -> web.Response:
        return web.json_response({"memory_stats": {"usage": 1}})

    async def _list(self, request: web.Request) -> web.Response:
        return web.json_response([{"Id": id_} for id_ in self.containers])

    async def _inspect(self, request: web.Request) -> web.Response:
        found = self.containers.get(request.match_info["id"])
        if found is None:
            return web.json_response({"message": "No such container"}, status=404)
        return web.json_response(found)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        stream: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._streams.append(stream)
        try:
            while (line := await stream.get()) is not None:
                await response.write(line)
        finally:
            self._streams.remove(stream)
        return response
