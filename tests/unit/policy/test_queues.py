"""Who is next in a group: always who a look at everybody would find, however the heaps came to be as they are."""

from __future__ import annotations

import heapq
from itertools import count

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from partage.domain import Class
from partage.policy.accounts import Account, Accounts
from partage.policy.events import Demand
from partage.policy.group import Group
from partage.policy.queues import ModelQueue
from partage.policy.waiting import Waiting

PATIENCE_S = 50.0


class Lines(RuleBasedStateMachine):
    """Requests come, are served, leave, are late; clients are charged, given back, and at their limit."""

    def __init__(self) -> None:
        super().__init__()
        self.group = Group("model", Class.NORMAL, PATIENCE_S, late_share=1.0)
        self.accounts = Accounts()
        self.now_s = 0.0
        self.asked = 0
        self.floor_s = 0.0
        self.waiting: list[Waiting] = []

    @rule(client=st.sampled_from("wxyz"), in_time_s=st.sampled_from([5.0, 30.0]))
    def ask(self, client: str, in_time_s: float) -> None:
        self.asked += 1
        account = self.accounts.of(client)
        self.accounts.joins(account)
        account.queued += 1
        demand = Demand(id=f"r{self.asked}", model="model", client=client)
        waiting = Waiting(demand, account, self.now_s, self.asked, self.now_s + in_time_s, 1.0)
        self.waiting.append(waiting)
        self.group.add(waiting)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        self._gone(data.draw(st.sampled_from(self.waiting)))

    @rule(charged_s=st.sampled_from([0.0, 1.0, 7.0]))
    def serve(self, charged_s: float) -> None:
        waiting = self.group.next(self.now_s, 0.0)
        if waiting is not None:
            self._gone(waiting)
            self.accounts.charge(waiting.account, charged_s, self.now_s)

    @rule(client=st.sampled_from("wxyz"), gpu_s=st.sampled_from([-3.0, -0.5, 0.25, 4.0]))
    def correct(self, client: str, gpu_s: float) -> None:
        self.accounts.charge(self.accounts.of(client), gpu_s, self.now_s)

    @rule(client=st.sampled_from("wxyz"), limit=st.sampled_from([None, 0]))
    def limit(self, client: str, limit: int | None) -> None:
        account = self.accounts.of(client)
        account.max_concurrent = limit
        for turn in account.turns.values():
            turn.offer()

    @rule(seconds=st.sampled_from([1.0, 10.0, 60.0]))
    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds

    @invariant()
    def is_who_had_least_of_those_in_front(self) -> None:
        found = self.group.next(self.now_s, 0.0)
        may = [line for line in self.group.lines.values() if not line.account.at_limit]
        if not may:
            assert found is None
            return
        rank = min(line.rank for line in may)
        front = [line for line in may if line.rank == rank]
        assert found is not None
        assert found.account.name in {line.account.name for line in front}
        assert found.account.virtual_s == min(line.account.virtual_s for line in front)

    @invariant()
    def nobody_active_is_behind_the_floor(self) -> None:
        active = [account.virtual_s for account in self.accounts.by_name.values() if account.active]
        floor_s = self.accounts.least_s()
        assert floor_s >= self.floor_s
        assert not active or floor_s in {self.floor_s, min(active)}
        self.floor_s = floor_s

    @invariant()
    def sums_are_those_of_who_waits(self) -> None:
        timely = [one.arrived_s for one in self.waiting if not one.late]
        late = [one.arrived_s for one in self.waiting if one.late]
        assert (self.group.timely_count, self.group.timely_arrived_s) == (len(timely), sum(timely))
        assert (self.group.late_count, self.group.late_arrived_s) == (len(late), sum(late))
        assert (
            self.group.count
            == len(self.waiting)
            == sum(one.timely_count + one.late_count for one in self.group.lines.values())
        )

    def _gone(self, waiting: Waiting) -> None:
        self.waiting.remove(waiting)
        waiting.account.queued -= 1
        self.group.remove(waiting)


TestLines = Lines.TestCase


def test_a_client_that_is_corrected_again_and_again_keeps_its_places(monkeypatch: pytest.MonkeyPatch):
    accounts, group = Accounts(), Group("model", Class.NORMAL, PATIENCE_S, late_share=1.0)
    account = accounts.of("x")
    accounts.joins(account)
    account.queued += 1
    group.add(Waiting(Demand(id="r", model="model", client="x"), account, 0.0, 1, 30.0, 1.0))
    pushed = list[object]()

    def push(_heap: list[object], entry: object) -> None:
        pushed.append(entry)

    monkeypatch.setattr(heapq, "heappush", push)
    for _ in range(100):
        accounts.charge(account, 2.0, 1.0)
        accounts.charge(account, -1.0, 1.0)
    assert pushed == []


_numbers = count()


def group(class_: Class, *, late_share: float = 1.0) -> Group:
    return Group("a", class_, patience_s=300.0, late_share=late_share)


def queue() -> ModelQueue:
    return ModelQueue((group(Class.INTERACTIVE), group(Class.NORMAL), group(Class.BATCH)))


def waiting(
    name: str, account: Account | None = None, *, context_tokens: int = 0, arrived_s: float = 0.0, due_s: float = 10.0
) -> Waiting:
    demand = Demand(id=name, model="a", client=name, class_=Class.NORMAL, context_tokens=context_tokens)
    account = account or Account(name)
    return Waiting(demand, account, arrived_s=arrived_s, sequence=next(_numbers), due_s=due_s, work_s=1.0)


def test_who_waits_for_a_longer_context_is_no_longer_in_line() -> None:
    waits, long, short = queue(), waiting("long", context_tokens=8192), waiting("short")
    for one in (long, short):
        waits.add(one, engine_context_tokens=None)
    waits.remove(long)
    waits.add(long, engine_context_tokens=4096)
    assert waits.groups[Class.NORMAL].next(20.0, 0.0) is short
    assert waits.groups[Class.NORMAL].waiting() == [short]
    assert (waits.ready_count, waits.count) == (1, 2)


def test_line_whose_first_had_patience_left_goes_on_with_those_that_have_none() -> None:
    waits, me = queue().groups[Class.NORMAL], Account("me")
    young = waiting("young", me, arrived_s=200.0, due_s=205.0)
    old, older = waiting("old", me, arrived_s=1.0, due_s=251.0), waiting("older", me, due_s=250.0)
    for one in (young, old, older):
        waits.add(one)
    for expected in (young, older, old):
        assert waits.next(310.0, 0.0) is expected
        waits.remove(expected)


def order_of(line: Group, now_s: float) -> list[str]:
    order: list[str] = []
    while (chosen := line.next(now_s, 0.0)) is not None:
        line.remove(chosen)
        order.append(chosen.demand.id)
    return order


def late_and_timely(line: Group) -> Group:
    """Two that are late, of clients that had less than those of the six that can be in time."""
    late = ((f"late{number}", 10.0) for number in range(2))
    for name, due_s in (*late, *((f"new{number}", 320.0) for number in range(6))):
        account = Account(name, virtual_s=1.0 if name.startswith("new") else 0.0)
        line.add(waiting(name, account, due_s=due_s))
    return line


def test_who_has_lost_patience_gets_a_share_of_the_service_while_others_can_be_in_time() -> None:
    order = order_of(late_and_timely(group(Class.NORMAL, late_share=0.2)), 310.0)
    assert [order.index(name) for name in ("late0", "late1")] == [0, 5], "a fifth is theirs"


def test_who_has_lost_patience_has_its_fair_turn_again_where_all_of_the_service_may_be_theirs() -> None:
    assert set(order_of(late_and_timely(group(Class.BATCH)), 310.0)[:2]) == {"late0", "late1"}


def test_late_requests_before_patience_ends_have_no_share() -> None:
    assert set(order_of(late_and_timely(group(Class.NORMAL, late_share=0.2)), 290.0)[-2:]) == {"late0", "late1"}


def test_where_nobody_can_be_in_time_who_has_lost_patience_goes_before_other_late_ones() -> None:
    line = group(Class.NORMAL, late_share=0.2)
    for name, arrived_s in (("newer", 100.0), ("older", 0.0)):
        line.add(waiting(name, arrived_s=arrived_s, due_s=110.0))
    assert order_of(line, 310.0) == ["older", "newer"]


def test_line_that_has_just_become_empty_is_not_offered() -> None:
    waits, only, another = queue().groups[Class.NORMAL], waiting("only"), waiting("another")
    waits.add(only)
    waits.add(another)
    (line, _) = waits.lines.values()
    waits.remove(only)
    another.account.virtual_s = 1.0
    line.offer()
    assert waits.next(20.0, 0.0) is another
