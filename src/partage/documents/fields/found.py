"""A value together with where on which page it stands: no rule returns anything else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from partage.documents.layout import Row, rows
from partage.documents.page import Box, Page, Word, enclosing


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    value: str | int | float | bool
    raw: str
    """The text it was read from, as it stands on the page."""
    page: int
    box: Box
    confidence: float


class Sheet:
    """All rows of a document in reading order, made once and searched by every rule."""

    def __init__(self, pages: tuple[Page, ...]) -> None:
        self.pages = pages
        self.rows: tuple[Row, ...] = tuple(row for page in pages for row in rows(page))

    @cached_property
    def first_page(self) -> tuple[Row, ...]:
        first = self.rows[0].page if self.rows else 1
        return tuple(row for row in self.rows if row.page == first)

    @cached_property
    def text(self) -> str:
        return "\n".join(row.text for row in self.rows)


def from_row(row: Row, start: int, end: int, value: str | float, rule: float) -> Found | None:
    """Characters start..end of the row's text, read as `value` by a rule that is right so often (0..1)."""
    return from_words(row.page, row.words_between(start, end), row.text[start:end].strip(), value, rule)


def from_words(page: int, words: tuple[Word, ...], raw: str, value: str | float, rule: float) -> Found | None:
    if not words:
        return None
    seen = min(word.confidence for word in words)
    return Found(value=value, raw=raw, page=page, box=enclosing(words), confidence=round(rule * seen, 3))


def surer(found: Found, factor: float) -> Found:
    return replace(found, confidence=round(min(1.0, found.confidence * factor), 3))
