"""Runs a journal through the policy again and compares what it decides with what it decided then."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from partage.journal_format import ActionsLine, EventLine, JournalLine, SettingsLine
from partage.policy.actions import Action, WakeAt
from partage.policy.events import Event
from partage.policy.scheduler import Scheduler
from partage.policy.settings import PolicySettings


@dataclass(frozen=True, slots=True)
class Difference:
    at_s: float
    event: Event
    then: tuple[Action, ...]
    now: tuple[Action, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    events: int
    actions: int
    differences: Sequence[Difference]


def replay(lines: Iterable[JournalLine], settings: PolicySettings, *, most_differences: int = 10) -> Replay:
    """From each start of the hub in the journal, with the settings it had; `settings`: of one that does not say.

    Wake-ups are left out of the comparison: they ask for a time and decide nothing.
    """
    scheduler = Scheduler(settings)
    count = decided = 0
    differences: list[Difference] = []
    for event, then in _paired(lines):
        if isinstance(event, SettingsLine):
            scheduler = Scheduler(event.settings)
            continue
        count += 1
        now = tuple(one for one in scheduler.decide(event.event, event.at_s) if not isinstance(one, WakeAt))
        decided += len(now)
        then = tuple(one for one in then if not isinstance(one, WakeAt))  # noqa: PLW2901 - the part that is compared
        if now != then and len(differences) < most_differences:
            differences.append(Difference(event.at_s, event.event, then, now))
    return Replay(events=count, actions=decided, differences=differences)


def _paired(lines: Iterable[JournalLine]) -> Iterable[tuple[EventLine | SettingsLine, tuple[Action, ...]]]:
    """Each event with the actions that follow it; an event that led to nothing has no line of actions."""
    pending: EventLine | None = None
    for line in lines:
        match line:
            case EventLine():
                if pending is not None:
                    yield pending, ()
                pending = line
            case SettingsLine():
                if pending is not None:
                    yield pending, ()
                pending = None
                yield line, ()
            case ActionsLine(actions=actions):
                if pending is not None:
                    yield pending, actions
                pending = None
    if pending is not None:
        yield pending, ()
