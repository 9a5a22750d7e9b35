"""What users of model switchers such as llama-swap have scripts for: /running and /unload."""

from __future__ import annotations

import asyncio

from partage.api.exchange import Exchange
from partage.api.ports import HubPort
from partage.errors import Forbidden
from partage.json_value import JsonValue

STATES = {"loading": "starting", "draining": "stopping"}
"""Ours -> theirs, where they differ."""
FROM_ELSEWHERE = frozenset({"cross-site", "same-site"})


class SwitchingApi:
    def __init__(self, hub: HubPort) -> None:
        self._hub = hub

    async def running(self, exchange: Exchange) -> None:
        running: list[JsonValue] = [
            {"model": one.model.name, "state": STATES.get(one.state, one.state), "ttl": round(one.expires_in_s or 0)}
            for one in self._hub.residents()
        ]
        await exchange.answer_json({"running": running})

    async def unload_all(self, exchange: Exchange) -> None:
        """With GET too, as llama-swap has it; so that a picture on somebody's web page must not do it."""
        if exchange.header(b"sec-fetch-site") in FROM_ELSEWHERE:
            raise Forbidden("a page from elsewhere may not unload models")
        async with asyncio.TaskGroup() as group:
            for resident in self._hub.residents():
                group.create_task(self._hub.unload(resident.model.name))
        await exchange.answer(b"OK", content_type=b"text/plain; charset=utf-8")

    async def unload(self, exchange: Exchange) -> None:
        await self._hub.unload(self._hub.model(exchange.path_parameter("model")).name)
        await exchange.answer(b"OK", content_type=b"text/plain; charset=utf-8")
