"""Who waits for a model: a group by class (group.py), and those that want no slot of the engine that is there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from partage.domain import Class
from partage.policy.accounts import Account
from partage.policy.group import Group
from partage.policy.waiting import Waiting


@dataclass(slots=True, eq=False)
class ModelQueue:
    """All who wait for one model."""

    groups: tuple[Group, Group, Group]
    loads: dict[str, Waiting] = field(default_factory=dict[str, Waiting])
    """They want the model to be ready, and nothing else."""
    outgrown: dict[str, Waiting] = field(default_factory=dict[str, Waiting])
    """They need a longer context than the engine that is there."""
    contexts: dict[int, int] = field(default_factory=dict[int, int])
    """How many wait for each context length."""
    owed_s: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    """Service that a class was passed over for, up to its guaranteed share."""

    @property
    def count(self) -> int:
        return self.groups[0].count + self.groups[1].count + self.groups[2].count + len(self.loads) + len(self.outgrown)

    @property
    def ready_count(self) -> int:
        """Those that the engine that is there could serve in a slot."""
        return self.groups[0].count + self.groups[1].count + self.groups[2].count

    def add(self, waiting: Waiting, *, engine_context_tokens: int | None) -> None:
        demand = waiting.demand
        self.contexts[demand.context_tokens] = self.contexts.get(demand.context_tokens, 0) + 1
        if engine_context_tokens is not None and demand.context_tokens > engine_context_tokens:
            waiting.queued = True
            self.outgrown[demand.id] = waiting
        elif demand.load_only:
            waiting.queued = True
            self.loads[demand.id] = waiting
        else:
            self.groups[demand.class_].add(waiting)

    def remove(self, waiting: Waiting) -> None:
        request, context = waiting.demand.id, waiting.demand.context_tokens
        self.contexts[context] -= 1
        if not self.contexts[context]:
            del self.contexts[context]
        if self.outgrown.pop(request, None) is None and self.loads.pop(request, None) is None:
            self.groups[waiting.demand.class_].remove(waiting)
        waiting.queued = False

    def waiting(self) -> list[Waiting]:
        aside = [*self.loads.values(), *self.outgrown.values()]
        return [*aside, *(one for group in self.groups for one in group.waiting())]

    def accounts(self) -> Iterator[Account]:
        """Of all who wait; one may come more than once."""
        yield from (line.account for group in self.groups for line in group.lines.values())
        yield from (one.account for one in (*self.loads.values(), *self.outgrown.values()))

    def highest_class(self) -> Class:
        """Of all who wait; BATCH where nobody does."""
        people, normal, _ = self.groups
        in_line = Class.INTERACTIVE if people.count else Class.NORMAL if normal.count else Class.BATCH
        if not self.loads and not self.outgrown:
            return in_line
        return min([in_line, *(one.demand.class_ for one in (*self.loads.values(), *self.outgrown.values()))])

    def work_s(self, class_: Class) -> float:
        """Of those that go before a newcomer of this class."""
        return sum(group.work_s for group in self.groups[: class_ + 1])
