"""From segments with boxes to rows in reading order: takes out skew, joins what stands on one line, finds columns.

Nothing here knows what the words mean; `fields/` does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from partage.documents.page import Box, Page, Segment, Word, enclosing

SAME_ROW = 0.5
"""Two segments share a row when the middle of each lies within so many heights of the other's."""

COLUMN_GAP = 2.5
"""A gap of so many letter heights parts two columns."""


@dataclass(frozen=True, slots=True)
class Row:
    """Segments at the same height, left to right."""

    page: int
    segments: tuple[Segment, ...]

    @property
    def text(self) -> str:
        return " ".join(segment.text for segment in self.segments)

    @property
    def words(self) -> tuple[Word, ...]:
        return tuple(word for segment in self.segments for word in segment.words)

    @property
    def box(self) -> Box:
        return enclosing(self.words)

    def words_between(self, start: int, end: int) -> tuple[Word, ...]:
        """The words that characters start..end of `text` lie in."""
        found: list[Word] = []
        at = 0
        for word in self.words:
            if at < end and at + len(word.text) > start:
                found.append(word)
            at += len(word.text) + 1
        return tuple(found)

    @property
    def pieces(self) -> tuple[Row, ...]:
        """The row cut where a gap is so wide that the parts belong to different columns."""
        cuts: list[list[Segment]] = [[self.segments[0]]]
        for left, right in pairwise(self.segments):
            if right.box.left - left.box.right > COLUMN_GAP * self.height:
                cuts.append([])
            cuts[-1].append(right)
        return tuple(Row(self.page, tuple(cut)) for cut in cuts)

    @property
    def height(self) -> float:
        """Of its letters, not of its bounding box."""
        return median(word.box.height for word in self.words)


@dataclass(frozen=True, slots=True)
class Block:
    """Segments stacked in one column without a gap: an address, a letterhead, one side of a form."""

    page: int
    segments: tuple[Segment, ...]

    @property
    def box(self) -> Box:
        return enclosing(tuple(word for segment in self.segments for word in segment.words))


def rows(page: Page) -> tuple[Row, ...]:
    """Reading order: rows from top to bottom, segments from left to right."""
    placed = sorted(
        ((*_upright(segment.box, page.skew_rad), segment) for segment in page.segments), key=lambda item: item[1]
    )
    open_rows: list[list[tuple[float, float, Segment]]] = []
    for x, y, segment in placed:
        row = next((row for row in reversed(open_rows[-4:]) if _fits(row, x, y, segment)), None)
        if row is None:
            open_rows.append([(x, y, segment)])
        else:
            row.append((x, y, segment))
    open_rows.sort(key=lambda row: median(y for _, y, _ in row))
    return tuple(
        Row(page.number, tuple(segment for _, _, segment in sorted(row, key=lambda item: item[0]))) for row in open_rows
    )


def text(page: Page) -> str:
    return "\n".join("  ".join(segment.text for segment in row.segments) for row in rows(page))


def blocks(page: Page) -> tuple[Block, ...]:
    """Segments below each other, within a line's distance and sharing a left edge or overlapping, in reading order."""
    columns: list[list[Segment]] = []
    for row in rows(page):
        for segment in row.segments:
            column = next((column for column in reversed(columns) if _continues(column[-1].box, segment.box)), None)
            if column is None:
                columns.append([segment])
            else:
                column.append(segment)
    return tuple(Block(page.number, tuple(column)) for column in columns)


def split_at_gaps(words: list[Word], gap_heights: float) -> list[Segment]:
    """Cut one line of words where the gap is wider than so many letter heights."""
    if not words:
        return []
    height = median(word.box.height for word in words)
    pieces: list[list[Word]] = [[words[0]]]
    for left, right in pairwise(words):
        if right.box.left - left.box.right > gap_heights * height:
            pieces.append([])
        pieces[-1].append(right)
    return [Segment(tuple(piece)) for piece in pieces]


def _upright(box: Box, skew_rad: float) -> tuple[float, float]:
    """Where the box's middle would be were the page straight."""
    cos, sin = math.cos(-skew_rad), math.sin(-skew_rad)
    return box.middle_x * cos - box.middle_y * sin, box.middle_x * sin + box.middle_y * cos


def _fits(row: list[tuple[float, float, Segment]], x: float, y: float, segment: Segment) -> bool:
    # Compared with the nearest neighbour in the row, so that a curled page still makes one row.
    _, near_y, near = min(row, key=lambda item: abs(item[0] - x))
    height = min(near.box.height, segment.box.height)
    overlaps = min(near.box.right, segment.box.right) - max(near.box.left, segment.box.left)
    if overlaps > SAME_ROW * min(near.box.width, segment.box.width):
        return False
    return abs(near_y - y) < SAME_ROW * height


def _continues(above: Box, below: Box) -> bool:
    height = min(above.height, below.height)
    if not -0.5 * height < below.top - above.bottom < 1.1 * height or max(above.height, below.height) > 1.8 * height:
        return False
    aligned = abs(above.left - below.left) < 1.5 * height or abs(above.middle_x - below.middle_x) < 2.5 * height
    return aligned and min(above.right, below.right) > max(above.left, below.left)
