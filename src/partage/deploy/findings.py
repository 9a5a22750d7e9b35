"""What a rule is, and what it finds."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from partage.deploy.source import Edit, Place

S = TypeVar("S")
Level = Literal["error", "warning"]
"""error: it does not start, or does not do what it says; warning: it works, until it hurts."""


@dataclass(frozen=True, slots=True)
class Fix:
    edits: tuple[Edit, ...]
    safe: bool = True
    """Means the same, or what was certainly meant. The rest needs --unsafe-fixes."""


@dataclass(frozen=True, slots=True)
class Flaw:
    place: Place
    message: str
    fix: Fix | None = None


@dataclass(frozen=True, slots=True)
class Rule(Generic[S]):
    code: str
    name: str
    cure: str
    """One line: what to do."""
    source: str
    """Where it is written that this is so."""
    level: Level
    default: bool
    """Off: advice that is only given when it is selected."""
    fixable: bool
    unsafe: bool
    """Its fix may change behaviour, and needs --unsafe-fixes."""
    subject: type[Any]
    check: Callable[[S], Iterable[Flaw]]

    @property
    def mended_by(self) -> str:
        """The options that mend it, "" where nothing does."""
        return "" if not self.fixable else "--fix --unsafe-fixes" if self.unsafe else "--fix"

    @property
    def summary(self) -> str:
        return (self.check.__doc__ or "").strip().splitlines()[0]

    @property
    def explanation(self) -> str:
        return inspect.cleandoc(self.check.__doc__ or "")


def rule(  # noqa: PLR0913 what a rule consists of, each by name
    code: str,
    name: str,
    *,
    on: type[S],
    cure: str,
    source: str,
    level: Level = "error",
    default: bool = True,
    fixable: bool = False,
    unsafe: bool = False,
) -> Callable[[Callable[[S], Iterator[Flaw]]], Rule[S]]:
    """Make a rule of a function over one kind of subject; its docstring is what --explain prints."""

    def decorate(check: Callable[[S], Iterator[Flaw]]) -> Rule[S]:
        return Rule(code, name, cure, source, level, default, fixable, unsafe, on, check)

    return decorate


@dataclass(frozen=True, slots=True)
class Finding:
    code: str
    name: str
    level: Level
    message: str
    cure: str
    path: str
    line: int
    column: int
    fix: Fix | None = None
