"""What the hub's watch says: /metrics for Prometheus, /admin/alerts, /admin/machine and /admin/history for people."""

from __future__ import annotations

import asyncio
from typing import Protocol
from urllib.parse import parse_qs

from partage.api.exchange import Exchange
from partage.errors import InvalidRequest
from partage.json_value import JsonObject
from partage.quantities import parse_duration_s

PROMETHEUS = b"text/plain; version=0.0.4; charset=utf-8"


class WatchPort(Protocol):
    """watch/watch.py."""

    def metrics_text(self) -> bytes: ...

    def alerts_json(self) -> JsonObject: ...

    def machine_json(self) -> JsonObject: ...

    def history_json(self, seconds: float) -> JsonObject:
        """Blocks."""
        ...


class WatchApi:
    def __init__(self, watch: WatchPort) -> None:
        self._watch = watch

    async def metrics(self, exchange: Exchange) -> None:
        await exchange.answer(self._watch.metrics_text(), content_type=PROMETHEUS)

    async def alerts(self, exchange: Exchange) -> None:
        await exchange.answer_json(self._watch.alerts_json())

    async def machine(self, exchange: Exchange) -> None:
        await exchange.answer_json(self._watch.machine_json())

    async def history(self, exchange: Exchange) -> None:
        """`?last=1h`, a day at most."""
        asked = parse_qs(exchange.scope.get("query_string", b"").decode("latin-1")).get("last", ["1h"])[-1]
        try:
            seconds = parse_duration_s(asked)
        except InvalidRequest as error:
            raise InvalidRequest(f"last: {error.message}", field="last") from None
        await exchange.answer_json(await asyncio.to_thread(self._watch.history_json, seconds))
