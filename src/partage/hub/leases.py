"""Carries out what the policy grants to programs that are not ours, and watches that they live and what they hold.

A lease lives as long as both its holder's stream (`held`) and its heartbeat. When it ends its memory counts as held until its
processes are gone, for a few seconds at most: what they keep beyond that is a stranger's.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Literal, TypeAlias

from partage.clock import Clock
from partage.device import mps
from partage.device.attribution import Holdings
from partage.device.host import HOST
from partage.device.tree import host_bytes, tree
from partage.domain import Class, Client, Device, EngineId, RequestId
from partage.errors import InvalidRequest, NotFound, PartageError, ShuttingDown
from partage.hub.kept_leases import KeptLeases
from partage.hub.lease import Lease, Wish, device_named, environment_of
from partage.json_value import JsonObject
from partage.policy.actions import GrantLease
from partage.policy.events import EngineMeasured, Event, LeaseAsked, LeaseDemand, LeaseEnded
from partage.policy.views import LeaseView
from partage.quantities import LEAST_BYTES, format_bytes

log = logging.getLogger(__name__)

OverLimit: TypeAlias = Literal["warn", "pause", "kill"]

TTL_S = 15.0
"""A holder that has not been heard of for so long is gone."""
DEAF_S = 3.0
"""A look that comes so late after the last one says that the hub itself was held up: it has heard nobody meanwhile."""
LINGER_S = 10.0
"""How long an ended lease waits for its processes to go."""
SLACK_BYTES = 16 << 20
"""What a lease may be exceeded by before anybody says so."""
LOST_KEPT = 20
WORTH_TELLING_BYTES = 4 << 20


class Leases:
    def __init__(  # noqa: PLR0913 - the hub hands over every part by name
        self,
        *,
        post: Callable[[Event], None],
        views: Callable[[], Sequence[LeaseView]],
        clock: Clock,
        devices: Sequence[Device],
        over_limit: OverLimit = "warn",
        kept: KeptLeases | None = None,
        tree: Callable[[int], list[int]] = tree,
        host_bytes: Callable[[Sequence[int], int], int] = host_bytes,
        mps_runs: Callable[[], bool] = mps.daemon_runs,
    ) -> None:
        self._post = post
        self._views = views
        self._clock = clock
        self._devices = {device.id: device for device in devices}
        self._over_limit: OverLimit = over_limit
        self._kept = kept
        self._tree = tree
        self._host_bytes = host_bytes
        self._mps_runs = mps_runs
        self._numbers = itertools.count(1)
        self._closing = False
        self._looked_s = clock.now_s()
        self.open: dict[RequestId, Lease] = {}
        """Waited for or held."""
        self.lost: deque[tuple[float, RequestId]] = deque(maxlen=LOST_KEPT)
        """(when, which) ended because nothing was heard of its holder."""
        self._by_engine: dict[EngineId, Lease] = {}
        self._leaving: dict[RequestId, tuple[Lease, float]] = {}
        """Ended, with processes that are not gone yet; and until when they are waited for."""

    @contextmanager
    def held(self, client: Client, wish: Wish) -> Generator[Lease]:
        """Asked for inside; read `news`. Raises InvalidRequest, CannotFit, QueueFull, ShuttingDown."""
        if self._closing:
            raise ShuttingDown
        lease = self._ask(client, wish)
        try:
            yield lease
        finally:
            self._let_go(lease)

    @contextmanager
    def returned(self, client: Client, id_: RequestId) -> Generator[Lease]:
        """The same for a holder whose hub went away meanwhile. Raises NotFound where it is not known, ShuttingDown."""
        if self._closing:
            raise ShuttingDown
        lease = self._heard(id_, client)
        if not lease.away:
            raise NotFound(f"lease '{id_}' is not waiting for its holder")
        lease.away = False
        log.info("lease %s: its holder is back", id_)
        try:
            yield lease
        finally:
            self._let_go(lease)

    def heartbeat(self, id_: RequestId, client: Client, pids: tuple[int, ...] | None = None) -> None:
        """Raises NotFound where it has ended, or is another client's."""
        lease = self._heard(id_, client)
        if pids is not None and pids != lease.pids:
            lease.pids = pids
            self._keep()

    def _heard(self, id_: RequestId, client: Client) -> Lease:
        lease = self.open.get(id_)
        if lease is None or lease.client.name != client.name or lease.ended:
            raise NotFound(f"there is no lease '{id_}' any more")
        lease.heard_s = self._clock.now_s()
        return lease

    def end(self, id_: RequestId, reason: str) -> None:
        """Raises NotFound."""
        lease = self.open.get(id_)
        if lease is None:
            raise NotFound(f"there is no lease '{id_}'")
        log.info("lease %s ends: %s", id_, reason)
        lease.end(reason)
        if lease.away:
            self._let_go(lease)

    def hold_again(self) -> None:
        """What the hub before this one had granted, before anything else is promised. Its holders have TTL_S to come back."""
        for one in self._kept.read() if self._kept is not None else ():
            try:
                lease = self._ask(one.client, one.wish, one.id)
            except PartageError as error:  # the devices, or their budgets, are others now
                log.warning("lease %s is not held again: %s", one.id, error.message)
                continue
            lease.away = True
            if lease.engine is None:
                self.end(lease.id, "there is no room for it any more")

    def _keep(self) -> None:
        """Not when the hub goes: whoever holds a lease then may find it again."""
        if self._kept is not None and not self._closing:
            self._kept.write(self._by_engine.values())

    def _ask(self, client: Client, wish: Wish, id_: RequestId | None = None) -> Lease:
        class_ = client.class_ if wish.class_ is None else Class(max(client.class_, wish.class_))
        device = device_named(wish.device, self._devices)
        if not wish.exclusive and wish.bytes_ <= 0:
            raise InvalidRequest("memory: say how much the lease is of, for example 6GiB", field="memory")
        if 0 < wish.bytes_ < LEAST_BYTES:
            raise InvalidRequest(
                f"memory: {wish.bytes_} bytes are no lease; give a unit, for example 6GiB", field="memory"
            )
        lease = Lease(id_ or self._new_id(wish), client, class_, wish, self._clock.now_s())
        self.open[lease.id] = lease
        asked = LeaseDemand(
            id=lease.id,
            client=client.name,
            class_=class_,
            weight=client.weight,
            bytes_=wish.bytes_,
            device=device,
            exclusive=wish.exclusive,
            cores=wish.cores,
            max_wait_s=wish.max_wait_s,
        )
        self._post(LeaseAsked(asked))
        refusal = lease.refusal
        if refusal is not None:
            raise refusal
        if lease.engine is None:
            self._tell_waiting([lease])
        return lease

    def _new_id(self, wish: Wish) -> RequestId:
        word = re.sub(r"[^A-Za-z0-9._-]+", "-", wish.name).strip("-")[:40] or "lease"
        return next(id_ for number in self._numbers if (id_ := f"{word}-{number}") not in self.open)

    def _let_go(self, lease: Lease) -> None:
        lease.ended = True
        if self.open.pop(lease.id, None) is None:
            return  # refused: the policy has forgotten it
        if lease.engine is not None:
            self._by_engine.pop(lease.engine, None)
            self._keep()
        if lease.engine is not None and self._living(lease):
            self._leaving[lease.id] = (lease, self._clock.now_s() + LINGER_S)
        else:
            self._post(LeaseEnded(lease=lease.id))

    def _living(self, lease: Lease) -> list[int]:
        return list({one for pid in lease.pids for one in self._tree(pid)})

    def granted(self, grant: GrantLease) -> None:
        lease = self.open.get(grant.lease)
        if lease is None:
            return
        lease.engine, lease.device = grant.engine, grant.device
        lease.bytes_ = lease.counted_bytes = grant.bytes_
        lease.granted_s = lease.heard_s = self._clock.now_s()
        self._by_engine[grant.engine] = lease
        self._keep()
        log.info("lease %s: %s of %s", lease.id, format_bytes(grant.bytes_), grant.device)
        lease.tell(
            "granted",
            lease=lease.id,
            device=grant.device,
            bytes=grant.bytes_,
            waited_s=lease.granted_s - lease.asked_s,
            environment=environment_of(lease, self._devices[grant.device], mps_runs=self._mps_runs),
        )

    def refused(self, id_: RequestId, error: PartageError) -> bool:
        """False: it is no lease."""
        lease = self.open.pop(id_, None)
        if lease is None:
            return False
        lease.refuse(error)
        return True

    def pause(self, engine: EngineId, reason: str) -> bool:
        """False: it is no lease's."""
        lease = self._by_engine.get(engine)
        if lease is not None:
            lease.pause("turn", reason)
        return lease is not None

    def resume(self, engine: EngineId) -> bool:
        lease = self._by_engine.get(engine)
        if lease is not None:
            lease.resume("turn")
        return lease is not None

    def close(self) -> None:
        """The hub goes: who waits is refused, who holds a lease may go on without it."""
        self._closing = True
        for lease in list(self.open.values()):
            if lease.engine is None:
                lease.refuse(ShuttingDown())
            else:
                lease.leave()

    def look(self, gpus: Sequence[Holdings] = ()) -> None:
        """Who is gone, who waits where, and what each holder really has."""
        now_s = self._clock.now_s()
        deaf, self._looked_s = now_s - self._looked_s > DEAF_S, now_s
        for lease, until_s in list(self._leaving.values()):
            if now_s >= until_s or not self._living(lease):
                del self._leaving[lease.id]
                self._post(LeaseEnded(lease=lease.id))
        self._tell_waiting([lease for lease in self.open.values() if lease.engine is None])
        for lease in [lease for lease in self.open.values() if lease.engine is not None]:
            lease.heard_s = now_s if deaf else lease.heard_s
            if lease.wish.beats and not lease.ended and now_s - lease.heard_s > TTL_S:
                self.lost.append((now_s, lease.id))
                self.end(lease.id, f"its holder has not been heard of for {TTL_S:.0f} s")
            elif lease.away and lease.pids and not self._living(lease):
                self.end(lease.id, "its processes have ended while no hub was there")
            else:
                self._weigh(lease, gpus)

    def pids(self) -> dict[int, RequestId]:
        """Whose processes are whose, of those that are not gone."""
        leases = [*self.open.values(), *(lease for lease, _ in self._leaving.values())]
        return {pid: lease.id for lease in leases if lease.engine is not None for pid in lease.pids}

    def unused_bytes(self, device: str) -> int:
        """Of what the ledger holds for leases on the device, what their holders have not taken yet."""
        return sum(
            max(0, lease.counted_bytes - lease.measured_bytes)
            for lease in self._by_engine.values()
            if lease.device == device and lease.measured_bytes is not None
        )

    def _tell_waiting(self, leases: Sequence[Lease]) -> None:
        views = {view.lease: view for view in self._views()} if leases else {}
        for lease in leases:
            view = views.get(lease.id)
            if view is not None:
                lease.tell("waiting", lease=lease.id, position=view.position, predicted_wait_s=view.predicted_wait_s)

    def _weigh(self, lease: Lease, gpus: Sequence[Holdings]) -> None:
        measured = self._measure(lease, gpus)
        if measured is None or lease.engine is None or lease.device is None:
            return
        lease.measured_bytes = measured
        counted = max(lease.bytes_, measured)
        if abs(counted - lease.counted_bytes) >= WORTH_TELLING_BYTES or counted == lease.bytes_ != lease.counted_bytes:
            lease.counted_bytes = counted
            self._post(EngineMeasured(engine=lease.engine, measured_bytes=((lease.device, counted),)))
        over = measured > lease.bytes_ + SLACK_BYTES
        if over != lease.over:
            lease.over = over
            self._went_over(lease, measured) if over else lease.resume("limit")

    def _measure(self, lease: Lease, gpus: Sequence[Holdings]) -> int | None:
        if not lease.pids:
            return None
        if lease.device == HOST:
            return self._host_bytes(self._living(lease), lease.bytes_)
        gpu = next((one for one in gpus if one.device == lease.device), None)
        return None if gpu is None or gpu.ours_bytes is None else gpu.of_lease(lease.id) or 0

    def _went_over(self, lease: Lease, measured: int) -> None:
        reason = f"it uses {format_bytes(measured)} of a lease of {format_bytes(lease.bytes_)}"
        log.warning("lease %s: %s", lease.id, reason)
        match self._over_limit:
            case "warn":
                lease.tell("warned", reason=reason)
            case "pause":
                lease.pause("limit", reason)
            case "kill":
                self.end(lease.id, reason)

    def to_json(self) -> list[JsonObject]:
        """For GET /admin/leases and /admin/status."""
        now_s = self._clock.now_s()
        views = {view.lease: view for view in self._views()}
        return [
            {
                "id": lease.id,
                "name": lease.name,
                "client": lease.client.name,
                "class": lease.class_.name.lower(),
                "state": "waiting" if lease.engine is None else "paused" if lease.paused else "held",
                "how": "by hand" if view.halted else "",
                "device": view.device or "",
                "bytes": view.bytes_,
                "leased_bytes": lease.bytes_,
                "measured_bytes": lease.measured_bytes,
                "paused_by_hand": view.halted,
                "exclusive": lease.wish.exclusive,
                "position": view.position,
                "predicted_wait_s": view.predicted_wait_s,
                "since_s": now_s - view.since_s,
                "pids": list(lease.pids),
            }
            for lease in self.open.values()
            if (view := views.get(lease.id)) is not None
        ]
