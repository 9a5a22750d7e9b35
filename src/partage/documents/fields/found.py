"""A value together with where on which page it stands: no rule returns anything else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from partage.documents.layout import Row, rows
from partage.documents.page import Box, Page, Segment, Word, enclosing

LONGEST_WORD, LONGEST_ROW = 200, 2000
"""Characters: a web address may have so many, and a line across a poster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    value: str | int | float | bool
    raw: str
    """The text it was read from, as it stands on the page."""
    page: int
    box: Box
    confidence: float


def _bounded(row: Row) -> Row | None:
    """Without what nobody prints. Some of the rules' expressions take the square of a text's length, and nothing stops them."""
    if len(row.text) <= LONGEST_WORD:
        return row
    segments: list[Segment] = []
    left = LONGEST_ROW
    for segment in row.segments:
        words: list[Word] = []
        for word in segment.words:
            left -= len(word.text) + 1
            if len(word.text) <= LONGEST_WORD and left >= 0:
                words.append(word)
        if words:
            segments.append(Segment(tuple(words)))
    return Row(row.page, tuple(segments)) if segments else None


class Sheet:
    """All rows of a document in reading order, made once and searched by every rule."""

    def __init__(self, pages: tuple[Page, ...]) -> None:
        self.pages = pages
        self.rows: tuple[Row, ...] = tuple(
            legible for page in pages for row in rows(page) if (legible := _bounded(row)) is not None
        )

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
