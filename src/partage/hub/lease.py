"""One lease as its holder sees it: what was asked for, and the news of it, from the first place in the queue to the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass

from partage.device import mps
from partage.domain import Class, Client, Device, DeviceId, EngineId, RequestId
from partage.errors import InvalidRequest, PartageError
from partage.json_value import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What somebody asks for."""

    bytes_: int = 0
    class_: Class | None = None
    """None: the client's own. A client can ask for less, never for more."""
    device: str | None = None
    """"host", a GPU's index or UUID; None: any GPU, the host where there is none."""
    exclusive: bool = False
    cores: int | None = None
    name: str = ""
    pids: tuple[int, ...] = ()
    """The processes at the top of what uses it, as the hub's machine numbers them."""
    max_wait_s: float | None = None
    beats: bool = True
    """Its holder is heard of every few seconds, or is gone. Docker tells of a container's end."""


class Lease:
    """Made by Leases.held. What happens to it is told once, in order, through `news`."""

    def __init__(self, id_: RequestId, client: Client, class_: Class, wish: Wish, asked_s: float) -> None:
        self.id = id_
        self.client = client
        self.class_ = class_
        self.wish = wish
        self.pids = wish.pids
        self.asked_s = asked_s
        self.granted_s: float | None = None
        self.heard_s = asked_s
        self.away = False
        """It was granted by the hub before this one, and its holder has not come back yet."""
        self.engine: EngineId | None = None
        self.device: DeviceId | None = None
        self.bytes_ = wish.bytes_
        """Granted."""
        self.counted_bytes = wish.bytes_
        """In the ledger: more while the holder has more."""
        self.measured_bytes: int | None = None
        self.over = False
        self.ended = False
        self.refusal: PartageError | None = None
        self._stops: dict[str, str] = {}
        self._news: asyncio.Queue[JsonObject | PartageError | None] = asyncio.Queue()

    @property
    def paused(self) -> bool:
        return bool(self._stops)

    @property
    def name(self) -> str:
        return self.wish.name or self.id

    async def news(self) -> AsyncGenerator[JsonObject]:
        """Until it has ended. Raises the refusal, if it is one. Breaks off without "ended" when the hub itself goes."""
        while True:
            one = await self._news.get()
            if one is None:
                return
            if isinstance(one, PartageError):
                raise one
            yield one
            if one["state"] == "ended":
                return

    def tell(self, state: str, **more: object) -> None:
        if not self.ended:
            self._news.put_nowait({"state": state, **more})  # type: ignore[dict-item]

    def refuse(self, error: PartageError) -> None:
        self.refusal = error
        self._close(error)

    def end(self, reason: str) -> None:
        """Its holder is to stop; the memory is free once it has."""
        self.tell("ended", reason=reason)
        self.ended = True

    def leave(self) -> None:
        """The hub goes: the holder may go on, without anybody's promise."""
        self._close(None)

    def _close(self, last: PartageError | None) -> None:
        if not self.ended:
            self._news.put_nowait(last)
            self.ended = True

    def pause(self, cause: str, reason: str) -> None:
        """There may be several causes; it goes on when the last has passed."""
        if not self._stops:
            self.tell("paused", reason=reason)
        self._stops[cause] = reason

    def resume(self, cause: str) -> None:
        if self._stops.pop(cause, None) is not None and not self._stops:
            self.tell("resumed")


def device_named(name: str | None, devices: Mapping[DeviceId, Device]) -> DeviceId | None:
    """By its id, or a GPU's index. Raises InvalidRequest."""
    if name is None or name in devices:
        return name
    for device in devices.values():
        if device.kind == "cuda" and name == str(device.index):
            return device.id
    there = ", ".join(f"{one.index} ({one.id})" if one.kind == "cuda" else one.id for one in devices.values())
    raise InvalidRequest(f"there is no device '{name}' here; there is {there}", field="device")


def environment_of(lease: Lease, device: Device, *, mps_runs: Callable[[], bool]) -> JsonObject:
    """What makes a program keep to its lease, as far as variables can."""
    found: JsonObject = {"PARTAGE_LEASE": lease.id, "CUDA_VISIBLE_DEVICES": ""}
    if device.kind == "cuda":
        found["CUDA_VISIBLE_DEVICES"] = device.id
        found |= mps.limits(device, lease.bytes_) if mps_runs() else {}
    elif lease.wish.cores:
        found["OMP_NUM_THREADS"] = str(lease.wish.cores)
    return found
