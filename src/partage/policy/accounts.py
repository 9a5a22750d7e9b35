"""Fair shares: what each client has received, in GPU-seconds, and who is behind.

Virtual Token Counter (Sheng et al., OSDI'24) with time as the unit: a client's virtual time grows by what it used, divided
by its weight. It is charged what a request is expected to cost when it is served, and corrected when it ends. Coming back
from idle, a client is lifted to the least of those that are active: idling saves nothing up.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field
from typing import Protocol

from partage.domain import Class


class Turn(Protocol):
    """A line of requests of this client, which has its place by the client's virtual time."""

    @property
    def model(self) -> str: ...

    def offer(self) -> None:
        """Take the place anew: the virtual time fell, or the client is no longer at its limit."""
        ...


@dataclass(slots=True)
class Account:
    name: str
    class_: Class = Class.NORMAL
    weight: float = 1.0
    max_concurrent: int | None = None
    virtual_s: float = 0.0
    served_s: float = 0.0
    recent: float = 0.0
    """Of the last minutes: what it received, each second weighed by when that was (`Accounts._weight`)."""
    queued: int = 0
    serving: int = 0
    leases: int = 0
    """Held now. They are no part of its concurrency: who holds a lease may ask questions meanwhile."""
    turns: dict[int, Turn] = field(default_factory=dict[int, Turn])
    """Where it has requests waiting, by identity."""
    placed_s: float | None = None
    """The virtual time at which it stands among the active; any other place it had there is stale."""

    @property
    def active(self) -> bool:
        return self.queued + self.serving + self.leases > 0

    @property
    def at_limit(self) -> bool:
        return self.max_concurrent is not None and self.serving >= self.max_concurrent


_RECENT_S = 300.0
_FLOODS = 0.5  # entitled to less
_USUAL = 1.5  # times the average: what clients differ by without one of them flooding
_HEAVIEST = 100.0  # the exponent at which weights are reckoned from a new start, long before they overflow


class Accounts:
    def __init__(self) -> None:
        self.by_name: dict[str, Account] = {}
        self._active: list[tuple[float, str]] = []
        self._floor_s = 0.0
        self._recent = 0.0
        """Of all accounts."""
        self._weighed_from_s = 0.0
        self._seen: set[str] = set()
        self._seen_before: set[str] = set()
        self._window_at_s = 0.0
        self._clients = 0
        self._usual = 0.0
        """What nobody is blamed for having had recently."""

    def of(self, name: str) -> Account:
        account = self.by_name.get(name)
        if account is None:
            account = self.by_name[name] = Account(name)
        return account

    def joins(self, account: Account) -> None:
        """Call before its first request is counted: lifts it if it was idle."""
        if not account.active:
            account.virtual_s = max(account.virtual_s, self.least_s())
            self._place(account)

    def least_s(self) -> float:
        """Virtual time of the active client that is furthest behind; never runs backwards."""
        while self._active:
            placed_s, name = self._active[0]
            account = self.by_name[name]
            if placed_s != account.placed_s:
                heapq.heappop(self._active)
            elif not account.active:
                heapq.heappop(self._active)
                account.placed_s = None
            elif placed_s < account.virtual_s:
                account.placed_s = account.virtual_s
                heapq.heapreplace(self._active, (account.virtual_s, name))
            else:
                self._floor_s = max(self._floor_s, account.virtual_s)
                break
        return self._floor_s

    def _place(self, account: Account) -> None:
        """Unless it stands before where it belongs: it is found there in time."""
        if account.placed_s is None or account.virtual_s < account.placed_s:
            account.placed_s = account.virtual_s
            heapq.heappush(self._active, (account.virtual_s, account.name))

    def entitlement(self, account: Account) -> float:
        """1 for who received about as much as the average client lately; who received twice that has a half."""
        usual, recent = self._usual * account.weight, account.recent
        return 1.0 if recent <= usual else usual / recent

    def floods(self, account: Account) -> bool:
        """It had more than three times what the average client received lately."""
        return self.entitlement(account) < _FLOODS

    def _note_recent(self, account: Account, gpu_s: float, now_s: float) -> None:
        if now_s - self._window_at_s > _RECENT_S:
            self._seen_before, self._seen, self._window_at_s = self._seen, set(), now_s
            self._clients = len(self._seen_before)
        if account.name not in self._seen:
            self._seen.add(account.name)
            self._clients += account.name not in self._seen_before
        received = max(gpu_s * self._weight(now_s), -account.recent)  # what is corrected late has become less meanwhile
        account.recent += received
        self._recent = max(0.0, self._recent + received)  # rounding
        self._usual = _USUAL * self._recent / max(1, self._clients)

    def _weight(self, now_s: float) -> float:
        """Of a second received now: instead of all that was received becoming less, what comes counts for more.

        Who had how much more than others is then the same until somebody receives something (forward decay, ICDE'09).
        """
        if now_s - self._weighed_from_s > _HEAVIEST * _RECENT_S:
            lighter = math.exp((self._weighed_from_s - now_s) / _RECENT_S)
            self._weighed_from_s = now_s
            self._recent *= lighter
            for account in self.by_name.values():
                account.recent *= lighter
        return math.exp((now_s - self._weighed_from_s) / _RECENT_S)

    def charge(self, account: Account, gpu_s: float, now_s: float) -> None:
        """Negative: a correction in the client's favour."""
        self._note_recent(account, gpu_s, now_s)
        account.served_s += gpu_s
        account.virtual_s += gpu_s / account.weight
        if gpu_s < 0:
            self._place(account)
            for turn in account.turns.values():
                turn.offer()
