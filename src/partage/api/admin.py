"""The operator's endpoints: /healthz for supervisors, /admin/status for people and the dashboard."""

from __future__ import annotations

from partage.api.exchange import Exchange
from partage.api.ports import HubPort


class AdminApi:
    def __init__(self, hub: HubPort) -> None:
        self._hub = hub

    async def health(self, exchange: Exchange) -> None:
        """200 as long as the hub takes requests in; 503 from the moment it shuts down."""
        self._hub.check_open()
        await exchange.answer_json({"status": "ok"})

    async def status(self, exchange: Exchange) -> None:
        await exchange.answer_json(self._hub.status())
