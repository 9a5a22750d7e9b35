"""The operator's endpoints: /healthz for supervisors, /admin/status for people and the dashboard."""

from __future__ import annotations

import msgspec

from partage.api.decoding import decode
from partage.api.exchange import Exchange
from partage.api.ports import HubPort
from partage.errors import InvalidRequest


class PinOrder(msgspec.Struct, kw_only=True):
    model: str
    pinned: bool = True


class PauseOrder(msgspec.Struct, kw_only=True):
    model: str | None = None
    lease: str | None = None
    paused: bool = True


PAUSE = msgspec.json.Decoder(PauseOrder)
PIN = msgspec.json.Decoder(PinOrder)


class AdminApi:
    def __init__(self, hub: HubPort) -> None:
        self._hub = hub

    async def health(self, exchange: Exchange) -> None:
        """200 as long as the hub takes requests in; 503 from the moment it shuts down."""
        self._hub.check_open()
        await exchange.answer_json({"status": "ok"})

    async def status(self, exchange: Exchange) -> None:
        await exchange.answer_json(self._hub.status())

    async def pin(self, exchange: Exchange) -> None:
        """Keep a model in memory: {"model": "llama3.2", "pinned": true}."""
        order = decode(PIN, await exchange.read_body())
        self._hub.pin(order.model, pinned=order.pinned)
        await exchange.answer_json({"model": order.model, "pinned": order.pinned})

    async def pause(self, exchange: Exchange) -> None:
        """Let a model or the holder of a lease stand still until it is let go: {"model": "llama3.2", "paused": true}."""
        order = decode(PAUSE, await exchange.read_body())
        match order.model, order.lease:
            case str(model), None:
                self._hub.pause(model, paused=order.paused)
                await exchange.answer_json({"model": model, "paused": order.paused})
            case None, str(lease):
                self._hub.pause_lease(lease, paused=order.paused)
                await exchange.answer_json({"lease": lease, "paused": order.paused})
            case _:
                raise InvalidRequest("say what to pause: either model, or lease", field="model")
