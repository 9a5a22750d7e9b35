"""YAML as a tree that knows where everything stands, read within bounds; nothing in it is constructed or executed.

Anchors are shared, never copied, and merge keys (`<<`) are looked up once, so that a bomb of aliases costs no more than
its own text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from ruamel.yaml import YAML, YAMLError
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import AliasEvent, Event, MappingStartEvent, NodeEvent, ScalarEvent, SequenceStartEvent

from ruamel.yaml.events import DocumentEndEvent, MappingEndEvent, SequenceEndEvent  # isort: skip

from partage.deploy.source import Place, Source
from partage.errors import UnreadableFile

MAX_EVENTS = 20_000
"""A 500-line file has about 1,300."""
MAX_DEPTH = 64
_LONG_TAG = re.compile(r"!\S{256}")
"""The scanner takes quadratic time over these."""


@dataclass(frozen=True, slots=True, eq=False)
class Scalar:
    text: str
    place: Place
    plain: bool = True
    """Without quotes: a number or a word such as `true` means more than its letters."""
    tag: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Sequence:
    items: tuple[Node, ...]
    place: Place
    flow: bool = False
    tag: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    key: Scalar
    value: Node


@dataclass(frozen=True, slots=True, eq=False)
class Mapping:
    entries: dict[str, Entry]
    """Own keys and merged ones."""
    place: Place
    flow: bool = False
    tag: str = ""
    repeated: tuple[Scalar, ...] = ()
    """Keys that stand here a second time."""

    def get(self, key: str) -> Node | None:
        entry = self.entries.get(key)
        return entry.value if entry else None

    def key(self, key: str) -> Scalar | None:
        entry = self.entries.get(key)
        return entry.key if entry else None


Node: TypeAlias = "Scalar | Sequence | Mapping"


def at(node: Node | None, *path: str) -> Node | None:
    """What lies below a mapping along these keys; None where a key is missing or something else stands there."""
    for key in path:
        if not isinstance(node, Mapping):
            return None
        node = node.get(key)
    return node


def mapping_at(node: Node | None, *path: str) -> Mapping | None:
    found = at(node, *path)
    return found if isinstance(found, Mapping) else None


def items_of(node: Node | None) -> tuple[Node, ...]:
    return node.items if isinstance(node, Sequence) else ()


def scalars_of(node: Node | None) -> tuple[Scalar, ...]:
    """The scalars of a sequence, or the scalar itself."""
    return tuple(item for item in (items_of(node) or (node,)) if isinstance(item, Scalar))


def read_yaml(source: Source) -> list[Node]:
    """The documents of a file. Raises UnreadableFile with the place of what is wrong."""
    if found := _LONG_TAG.search(source.text):
        raise UnreadableFile(
            "has a tag of more than 256 characters", line=source.text.count("\n", 0, found.start()) + 1
        )
    try:
        return _Reader(source).read()
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        words = " ".join(str(part) for part in (error.context, error.problem) if part)
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise UnreadableFile(f"is not valid YAML: {words}", line=line, column=column) from None
    except (YAMLError, ValueError) as error:
        raise UnreadableFile(f"is not valid YAML: {str(error).splitlines()[0]}") from None


@dataclass(slots=True)
class _Reader:
    source: Source
    _events: Iterator[Event] = field(init=False)
    _count: int = 0
    _merged: int = 0
    _anchors: dict[str, Node | None] = field(default_factory=dict[str, "Node | None"])
    """None while the anchored node is not finished: an alias to it would be its own part."""

    def read(self) -> list[Node]:
        self._events = YAML(typ="safe", pure=True).parse(_with_blanks(self.source.text))
        found: list[Node] = []
        for event in self._events:
            if isinstance(event, NodeEvent):
                found.append(self._node(event, 0))
                self._anchors.clear()
        return found

    def _next(self) -> Event:
        event = next(self._events)
        self._count += 1
        if self._count > MAX_EVENTS or self._merged > MAX_EVENTS:
            raise self._refused(event, f"has more than {MAX_EVENTS} nodes: that is no compose file")
        return event

    def _node(self, event: Event, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise self._refused(event, f"is nested more than {MAX_DEPTH} levels deep")
        anchor: str | None = getattr(event, "anchor", None)
        if isinstance(event, AliasEvent):
            node = self._anchors.get(anchor or "")
            if node is None:
                known = anchor in self._anchors
                raise self._refused(event, f"*{anchor} {'contains itself' if known else 'has no anchor above it'}")
            return node
        if anchor:
            self._anchors[anchor] = None
        node = self._built(event, depth)
        if anchor:
            self._anchors[anchor] = node
        return node

    def _built(self, event: Event, depth: int) -> Node:
        tag = str(getattr(event, "tag", None) or "")
        if isinstance(event, ScalarEvent):
            return Scalar(event.value, self._place(event), plain=event.implicit[0], tag=tag)
        if isinstance(event, SequenceStartEvent):
            items: list[Node] = []
            while not isinstance(inner := self._next(), SequenceEndEvent):
                items.append(self._node(inner, depth + 1))
            return Sequence(tuple(items), self._place(event, inner), flow=bool(event.flow_style), tag=tag)
        if isinstance(event, MappingStartEvent):
            own: list[Entry] = []
            while not isinstance(inner := self._next(), MappingEndEvent):
                key = self._node(inner, depth + 1)
                value = self._node(self._next(), depth + 1)
                if isinstance(key, Scalar):
                    own.append(Entry(key, value))
            place = self._place(event, inner)
            return Mapping(self._with_merges(own), place, bool(event.flow_style), tag, _repeated(own))
        assert isinstance(event, DocumentEndEvent), event
        raise self._refused(event, "ends too early")

    def _with_merges(self, own: list[Entry]) -> dict[str, Entry]:
        entries = {entry.key.text: entry for entry in own if not _is_merge(entry)}
        seen: set[int] = set()
        for merge in (entry for entry in own if _is_merge(entry)):
            for node in (merge.value, *items_of(merge.value)):
                if not isinstance(node, Mapping) or id(node) in seen:
                    continue
                seen.add(id(node))
                self._merged += len(node.entries)
                for key, entry in node.entries.items():
                    entries.setdefault(key, entry)
        return entries

    def _place(self, event: Event, last: Event | None = None) -> Place:
        start, end = event.start_mark, (last or event).end_mark
        return Place(self.source, start.line + 1, start.column + 1, start.index, end.index)

    def _refused(self, event: Event, why: str) -> UnreadableFile:
        return UnreadableFile(why, line=event.start_mark.line + 1, column=event.start_mark.column + 1)


_INDENT = re.compile(r"^[ \t]*(?:[-?][ \t]+)*", re.MULTILINE)


def _with_blanks(text: str) -> str:
    """Tabs between words and before comments, which Compose's parser takes and ours does not, as blanks: every place stays."""
    if "\t" not in text:
        return text
    parts: list[str] = []
    position = 0
    for indent in _INDENT.finditer(text):
        parts += [text[position : indent.start()].replace("\t", " "), indent[0]]
        position = indent.end()
    return "".join(parts) + text[position:].replace("\t", " ")


def _repeated(own: list[Entry]) -> tuple[Scalar, ...]:
    first = {entry.key.text: entry for entry in reversed(own)}
    return tuple(entry.key for entry in own if first[entry.key.text] is not entry)


def _is_merge(entry: Entry) -> bool:
    return entry.key.text == "<<" and entry.key.plain
