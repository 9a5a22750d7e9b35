"""Pages made of text: one line per row, two or more blanks part segments, every letter ten units wide."""

from __future__ import annotations

import re

from partage.documents.fields.found import Sheet
from partage.documents.page import Box, Page, ReadBy, Segment, Unit, Word

LETTER, HEIGHT, PITCH = 10.0, 20.0, 30.0


def page(text: str, *, number: int = 1, height: float | None = None) -> Page:
    lines = text.strip("\n").split("\n")
    segments = [
        segment(match[0], match.start() * LETTER, row * PITCH)
        for row, line in enumerate(lines)
        for match in re.finditer(r"\S+(?: \S+)*", line)
    ]
    return Page(
        number=number,
        width=1000,
        height=height or max(1, len(lines)) * PITCH,
        unit=Unit.PIXEL,
        read_by=ReadBy.OCR,
        segments=tuple(segments),
    )


def segment(text: str, left: float, top: float) -> Segment:
    return Segment(
        tuple(
            Word(
                match[0],
                Box(left + match.start() * LETTER, top, left + match.end() * LETTER, top + HEIGHT),
                confidence=0.99,
            )
            for match in re.finditer(r"\S+", text)
        )
    )


def sheet(text: str) -> Sheet:
    return Sheet((page(text),))
