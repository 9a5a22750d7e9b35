"""Who of one class waits for a model, and who of them is next: a line per client.

The client that has received least goes first (accounts.py), and of its requests the most urgent one that can
still be in time. Late ones come after those; once they have waited for the group's patience, a share of the service is
theirs, by age. Were it all of it, nobody would be in time wherever more is asked than can be done for as long as that; of
batch work it is. A request with a deadline passes the fair order while its client is not ahead of its share.

Nothing here is searched: heaps whose entries are checked when they come up, so that each step costs the logarithm of the
queue at most.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from partage.domain import Class
from partage.policy.accounts import Account
from partage.policy.waiting import Waiting

_Timed: TypeAlias = tuple[float, int, Waiting]
_Place: TypeAlias = "tuple[float, int, Line]"


@dataclass(slots=True, eq=False)
class Line:
    """One client's requests in one group."""

    group: Group
    account: Account
    timely: list[_Timed] = field(default_factory=list[_Timed])
    late: deque[Waiting] = field(default_factory=deque[Waiting])
    timely_count: int = 0
    late_count: int = 0
    aged: bool = False
    """Its oldest late request has lost patience."""
    place: _Place | None = None
    """Its entry in one of the group's heaps; an entry that no line has for its place is stale."""
    placed_rank: int = 0

    @property
    def rank(self) -> int:
        """0: it is in front; 1: nobody in it can be in time, but somebody has lost patience; 2: it is behind."""
        if self.timely_count or (self.aged and self.group.late_share >= 1.0):
            return 0
        return 1 if self.aged else 2

    @property
    def model(self) -> str:
        return self.group.model

    def offer(self) -> None:
        self.group.offer(self)


@dataclass(slots=True, eq=False)
class Group:
    """The requests of one class for one model: the unit of swap decisions."""

    model: str
    class_: Class
    patience_s: float
    late_share: float
    """Of the service: for those who have lost patience, while others can still be in time. 1: their fair turns."""
    lines: dict[str, Line] = field(default_factory=dict[str, Line])
    count: int = 0
    timely_count: int = 0
    late_count: int = 0
    timely_arrived_s: float = 0.0
    """Sum of arrival times: with the count, it gives the sum of ages at any time."""
    late_arrived_s: float = 0.0
    work_s: float = 0.0
    _lines: tuple[list[_Place], list[_Place], list[_Place]] = field(default_factory=lambda: ([], [], []))
    """By rank, in each who has received least first."""
    _ahead_s: float = 0.0
    """Service that those who have lost patience had beyond their share."""
    _due: list[_Timed] = field(default_factory=list[_Timed])
    _aging: list[_Timed] = field(default_factory=list[_Timed])
    _deadlines: list[_Timed] = field(default_factory=list[_Timed])
    _oldest: list[_Timed] = field(default_factory=list[_Timed])
    _offers: int = 0

    def add(self, waiting: Waiting) -> None:
        """Also one that comes back: its arrival, due time and order are as before."""
        account = waiting.account
        line = self.lines.get(account.name)
        if line is None:
            line = self.lines[account.name] = Line(self, account)
            account.turns[id(line)] = line
        waiting.queued = waiting.in_line = True
        self.count += 1
        self.work_s += waiting.work_s
        key = (waiting.due_s, waiting.sequence, waiting)
        heapq.heappush(self._oldest, (waiting.arrived_s, waiting.sequence, waiting))
        if waiting.late:
            self._count_late(waiting, line)
            line.late.appendleft(waiting)
        else:
            self.timely_count += 1
            self.timely_arrived_s += waiting.arrived_s
            line.timely_count += 1
            heapq.heappush(line.timely, key)
            heapq.heappush(self._due, key)
            if waiting.demand.deadline_at_s is not None:
                heapq.heappush(self._deadlines, key)
        if line.timely_count + line.late_count == 1 or line.timely_count == 1:
            self.offer(line)

    def remove(self, waiting: Waiting) -> None:
        waiting.in_line = False
        line = self.lines[waiting.account.name]
        self.count -= 1
        self.work_s -= waiting.work_s
        if waiting.late:
            self.late_count -= 1
            self.late_arrived_s -= waiting.arrived_s
            line.late_count -= 1
            line.aged = line.aged and line.late_count > 0
        else:
            self.timely_count -= 1
            self.timely_arrived_s -= waiting.arrived_s
            line.timely_count -= 1
        if line.timely_count + line.late_count == 0:
            del self.lines[waiting.account.name]
            del waiting.account.turns[id(line)]
            line.place = None
        if not self.lines:
            self._forget()

    def offer(self, line: Line) -> None:
        """Put a line where its client's virtual time places it, unless it is placed before: it is found there in time."""
        if not line.timely_count + line.late_count:
            return  # its last was served while its client's lines were offered one after the other
        rank, virtual_s = line.rank, line.account.virtual_s
        if line.place is not None and line.placed_rank == rank and line.place[0] <= virtual_s:
            return
        self._offers += 1
        line.place, line.placed_rank = (virtual_s, self._offers, line), rank
        heapq.heappush(self._lines[rank], line.place)

    def grow_old(self, now_s: float) -> None:
        """Requests whose time has passed go behind; those that lost patience may come to the front again."""
        while self._due and (self._due[0][0] < now_s or not self._due[0][2].in_line):
            waiting = heapq.heappop(self._due)[2]
            if waiting.in_line and not waiting.late:
                self._miss(waiting)
        while self._aging and (self._aging[0][0] <= now_s or not self._aging[0][2].in_line):
            waiting = heapq.heappop(self._aging)[2]
            if waiting.in_line and waiting.late:
                line = self.lines[waiting.account.name]
                line.aged = True
                self.offer(line)

    def next(
        self,
        now_s: float,
        slack_s: float,
        *,
        oldest_since_s: float | None = None,
        held: Callable[[Account], bool] | None = None,
    ) -> Waiting | None:
        """Whose turn it is; None where all who wait are at their own limit of concurrency.

        `oldest_since_s`: who has waited since then goes first, for it is its impatience that brought the model here.
        `held`: who may not be served now, though it be its turn.
        """
        self.grow_old(now_s)
        if held is not None:
            return self._next_of_others(now_s, held)
        if oldest_since_s is not None:
            oldest_s = self.oldest_s()
            if oldest_s is not None and oldest_s <= oldest_since_s and not self._oldest[0][2].account.at_limit:
                return self._oldest[0][2]
        line = self._first(0) or self._first(1) or self._first(2)
        if line is None:
            return None
        if line.timely_count and (oldest := self._of_share(line, now_s)) is not None:
            return oldest
        urgent = self._most_urgent()
        if urgent is not None and urgent.account.virtual_s <= line.account.virtual_s + slack_s:
            return urgent
        return self._of_line(line, now_s)

    def _next_of_others(self, now_s: float, held: Callable[[Account], bool]) -> Waiting | None:
        """Who had least is seldom held; where it is, this is the one step that looks at all clients."""
        line = self._first(0)
        if line is not None and not held(line.account):
            return self._of_line(line, now_s)
        free = [line for line in self.lines.values() if not line.account.at_limit and not held(line.account)]
        line = min(free, key=lambda one: (one.rank, one.account.virtual_s), default=None)
        return None if line is None else self._of_line(line, now_s)

    def _of_share(self, line: Line, now_s: float) -> Waiting | None:
        """Who goes before this line, as all who have lost patience had less than their share: the oldest of them."""
        oldest_s = self.oldest_s()
        if self.late_share >= 1.0 or oldest_s is None or now_s - oldest_s < self.patience_s:
            return None
        oldest = self._oldest[0][2]
        if oldest.account.at_limit:
            return None
        if self._ahead_s > 0.0:
            self._ahead_s -= self._of_line(line, now_s).work_s * self.late_share / (1.0 - self.late_share)
            return None
        self._ahead_s += oldest.work_s
        return oldest

    def oldest_s(self) -> float | None:
        while self._oldest:
            if self._oldest[0][2].in_line:
                return self._oldest[0][0]
            heapq.heappop(self._oldest)
        return None

    def waiting(self) -> list[Waiting]:
        """All of them, by arrival; for views and refusals, not for decisions."""
        ordered = sorted(self._oldest, key=lambda one: one[:2])
        return list(dict.fromkeys(waiting for _, _, waiting in ordered if waiting.in_line))

    def _miss(self, waiting: Waiting) -> None:
        line = self.lines[waiting.account.name]
        waiting.late = True
        self.timely_count -= 1
        self.timely_arrived_s -= waiting.arrived_s
        line.timely_count -= 1
        self._count_late(waiting, line)
        line.late.append(waiting)
        if line.rank:
            self.offer(line)

    def _count_late(self, waiting: Waiting, line: Line) -> None:
        self.late_count += 1
        self.late_arrived_s += waiting.arrived_s
        line.late_count += 1
        heapq.heappush(self._aging, (waiting.arrived_s + self.patience_s, waiting.sequence, waiting))

    def _first(self, rank: int) -> Line | None:
        heap = self._lines[rank]
        while heap:
            place = heap[0]
            placed_at_s, _, line = place
            if line.place is not place:
                heapq.heappop(heap)
            elif line.account.at_limit:
                heapq.heappop(heap)  # it is offered again when one of its client's requests ends
                line.place = None
            elif line.rank != rank:
                heapq.heappop(heap)
                line.place = None
                self.offer(line)
            elif placed_at_s < line.account.virtual_s:
                self._offers += 1
                line.place = (line.account.virtual_s, self._offers, line)
                heapq.heapreplace(heap, line.place)
            else:
                return line
        return None

    def _most_urgent(self) -> Waiting | None:
        while self._deadlines:
            waiting = self._deadlines[0][2]
            if waiting.in_line and not waiting.late:
                return None if waiting.account.at_limit else waiting
            heapq.heappop(self._deadlines)
        return None

    def _of_line(self, line: Line, now_s: float) -> Waiting:
        while line.late and not line.late[0].in_line:
            line.late.popleft()
        line.aged = bool(line.late) and now_s - line.late[0].arrived_s >= self.patience_s
        self.offer(line)
        if not line.timely_count or (line.aged and self.late_share >= 1.0):
            return line.late[0]
        while not line.timely[0][2].in_line or line.timely[0][2].late:
            heapq.heappop(line.timely)
        return line.timely[0][2]

    def _forget(self) -> None:
        for heap in (*self._lines, self._due, self._aging, self._deadlines, self._oldest):
            heap.clear()
        self.timely_arrived_s = self.late_arrived_s = self.work_s = self._ahead_s = 0.0
