"""One lease as its holder sees it: what was asked for, and the news of it, from the first place in the queue to the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from partage.domain import Class, Client, DeviceId, EngineId, RequestId
from partage.errors import PartageError
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
        self.needs_heartbeat = True
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
