"""Leases over HTTP: the stream that holds one, its heartbeat, the list, and the end by somebody else's hand."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Annotated, Literal, Protocol

import msgspec

from partage.api.decoding import decode
from partage.api.exchange import Exchange
from partage.api.streaming import NDJSON, Silence, while_present, write
from partage.config_sections import CLASSES
from partage.domain import Client, RequestId
from partage.errors import InvalidRequest
from partage.hub.lease import Lease, Wish
from partage.json_value import JsonObject
from partage.public_addresses import is_loopback
from partage.quantities import parse_bytes, parse_duration_s

SILENCE_S = 5.0

Pid = Annotated[int, msgspec.Meta(gt=0)]


class LeasesPort(Protocol):
    """hub/leases.py."""

    def held(self, client: Client, wish: Wish) -> AbstractContextManager[Lease]:
        """Raises InvalidRequest, CannotFit, QueueFull, ShuttingDown."""
        ...

    def returned(self, client: Client, id_: RequestId) -> AbstractContextManager[Lease]:
        """Raises NotFound, ShuttingDown."""
        ...

    def heartbeat(self, id_: RequestId, client: Client, pids: tuple[int, ...] | None = None) -> None:
        """Raises NotFound."""
        ...

    def end(self, id_: RequestId, reason: str) -> None:
        """Raises NotFound."""
        ...

    def to_json(self) -> list[JsonObject]: ...


class LeaseOrder(msgspec.Struct, kw_only=True):
    memory: str | int | None = None
    class_: Literal["interactive", "normal", "batch"] | None = msgspec.field(default=None, name="class")
    device: str | int | None = None
    exclusive: bool = False
    cores: Annotated[int, msgspec.Meta(ge=0)] | None = None
    name: Annotated[str, msgspec.Meta(max_length=100)] = ""
    pid: Pid | None = None
    max_wait: str | float | None = None
    lease: RequestId | None = None
    """One that the hub before this one has granted; all else was said then."""


class Heartbeat(msgspec.Struct, kw_only=True):
    pids: tuple[Pid, ...] | None = None
    """None: as before. Empty: nothing uses it any more."""


ORDER = msgspec.json.Decoder(LeaseOrder)
HEARTBEAT = msgspec.json.Decoder(Heartbeat)


class LeasesApi:
    def __init__(self, leases: LeasesPort) -> None:
        self._leases = leases

    async def hold(self, exchange: Exchange) -> None:
        """One line of JSON for each change; whoever closes the connection gives the lease back."""
        with self._asked(exchange, decode(ORDER, await exchange.read_body())) as lease:
            async with while_present(exchange, Silence(SILENCE_S, NDJSON, lambda: b"\n")):
                async for news in lease.news():
                    await write(exchange, NDJSON, msgspec.json.encode(news) + b"\n")
        await exchange.finish()

    def _asked(self, exchange: Exchange, order: LeaseOrder) -> AbstractContextManager[Lease]:
        if order.lease is not None:
            return self._leases.returned(exchange.client, order.lease)
        return self._leases.held(exchange.client, _wish(order, pids_count=is_loopback(exchange.address)))

    async def heartbeat(self, exchange: Exchange) -> None:
        beat = decode(HEARTBEAT, await exchange.read_body() or b"{}")
        pids = (
            beat.pids if is_loopback(exchange.address) else None
        )  # elsewhere, and in containers, an id means another process
        self._leases.heartbeat(exchange.path_parameter("lease"), exchange.client, pids)
        await exchange.answer_json({"status": "ok"})

    async def list(self, exchange: Exchange) -> None:
        await exchange.answer_json({"leases": self._leases.to_json()})

    async def end(self, exchange: Exchange) -> None:
        lease = exchange.path_parameter("lease")
        self._leases.end(lease, f"{exchange.client.name} ended it")
        await exchange.answer_json({"lease": lease, "state": "ended"})


def _wish(order: LeaseOrder, *, pids_count: bool) -> Wish:
    return Wish(
        bytes_=0 if order.memory is None else _bytes(order.memory),
        class_=None if order.class_ is None else CLASSES[order.class_],
        device=None if order.device is None else str(order.device),
        exclusive=order.exclusive,
        cores=order.cores,
        name=order.name,
        pids=(order.pid,) if order.pid is not None and pids_count else (),
        max_wait_s=None if order.max_wait is None else _seconds(order.max_wait),
    )


def _bytes(text: str | int) -> int:
    try:
        return parse_bytes(text)
    except InvalidRequest as error:
        raise InvalidRequest(f"memory: {error.message}", field="memory") from None


def _seconds(text: str | float) -> float:
    try:
        return max(0.0, parse_duration_s(text))
    except InvalidRequest as error:
        raise InvalidRequest(f"max_wait: {error.message}", field="max_wait") from None
