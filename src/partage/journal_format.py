"""The lines of the journal: events and actions of the policy as JSON, and back, so that a live run can be replayed.

One line with the policy's settings at each start of the hub; then one per event, with the actions it led to right after it:

    {"at_s": 0.2, "settings": {"keep_alive_s": 300.0, "queue_limit": 512}}
    {"at_s": 12.5, "event": {"type": "EngineReady", "engine": "llama3.2:latest#7", "load_s": 3.1}}
    {"at_s": 12.5, "actions": [{"type": "Serve", "request": "r-9", "engine": "llama3.2:latest#7"}]}
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast, get_args

import msgspec

from partage.errors import PartageError
from partage.policy.actions import Action
from partage.policy.events import Event
from partage.policy.settings import PolicySettings

T = TypeVar("T")

_EVENTS: dict[str, type[Event]] = {kind.__name__: kind for kind in get_args(Event)}
_ACTIONS: dict[str, type[Action]] = {kind.__name__: kind for kind in get_args(Action)}


class JournalUnreadable(PartageError):
    """A line is none that a hub has written, or is of another version's journal."""


@dataclass(frozen=True, slots=True)
class EventLine:
    at_s: float
    event: Event


@dataclass(frozen=True, slots=True)
class ActionsLine:
    at_s: float
    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class SettingsLine:
    """A hub has started: what it knew before is forgotten."""

    at_s: float
    settings: PolicySettings


JournalLine = EventLine | ActionsLine | SettingsLine


def settings_line(settings: PolicySettings, at_s: float) -> bytes:
    """One line, with its newline."""
    return msgspec.json.encode({"at_s": at_s, "settings": settings}) + b"\n"


def event_line(event: Event, at_s: float) -> bytes:
    """One line, with its newline."""
    return msgspec.json.encode({"at_s": at_s, "event": _tagged(event)}) + b"\n"


def actions_line(actions: Sequence[Action], at_s: float) -> bytes:
    """One line, with its newline."""
    return msgspec.json.encode({"at_s": at_s, "actions": [_tagged(action) for action in actions]}) + b"\n"


def parse_line(line: bytes | str) -> JournalLine:
    """Raises JournalUnreadable for a line that is none of ours."""
    try:
        fields = cast("dict[str, Any]", msgspec.json.decode(line))
        at_s = float(fields["at_s"])
        if "event" in fields:
            return EventLine(at_s, _untagged(fields["event"], _EVENTS))
        if "settings" in fields:
            return SettingsLine(at_s, msgspec.convert(fields["settings"], PolicySettings))
        return ActionsLine(at_s, tuple(_untagged(one, _ACTIONS) for one in fields["actions"]))
    except (KeyError, TypeError, AttributeError, msgspec.MsgspecError) as wrong:
        raise JournalUnreadable(f"not a line of a journal: {wrong}") from wrong


def parse_lines(lines: Iterable[bytes | str]) -> Iterable[JournalLine]:
    """Raises JournalUnreadable. A last line that is cut short is passed over: a hub is writing it, or was killed over it."""
    for line in lines:
        if not line.strip():
            continue
        try:
            yield parse_line(line)
        except JournalUnreadable:
            if line[-1:] in {"\n", b"\n"}:
                raise


def _tagged(one: Event | Action) -> dict[str, Any]:
    return {"type": type(one).__name__, **msgspec.to_builtins(one)}


def _untagged(fields: dict[str, Any], kinds: dict[str, type[T]]) -> T:
    return msgspec.convert({name: value for name, value in fields.items() if name != "type"}, kinds[fields["type"]])
