"""What a page is once it has been read: words with boxes, gathered into segments, and how they were obtained.

Coordinates are in page units with the origin at the top left: points (1/72 inch) for PDF, pixels for images.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ReadBy(StrEnum):
    TEXT_LAYER = "text_layer"
    VISION_MODEL = "vision_model"
    OCR = "ocr"


class Unit(StrEnum):
    POINT = "point"
    PIXEL = "pixel"


@dataclass(frozen=True, slots=True)
class Box:
    """An upright rectangle in page units."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top

    @property
    def middle_x(self) -> float:
        return (self.left + self.right) / 2

    @property
    def middle_y(self) -> float:
        return (self.top + self.bottom) / 2

    def __or__(self, other: Box) -> Box:
        return Box(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )


@dataclass(frozen=True, slots=True)
class Word:
    text: str
    box: Box
    confidence: float = 1.0
    """0..1; 1 for a text layer."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Words that follow each other without a wide gap: what a reader of the page takes in at once."""

    words: tuple[Word, ...]

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)

    @property
    def box(self) -> Box:
        return enclosing(self.words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    number: int
    """From 1."""
    width: float
    height: float
    unit: Unit
    read_by: ReadBy
    segments: tuple[Segment, ...]
    skew_rad: float = 0.0
    """How far the lines of text turn clockwise; taken out before rows are formed."""
    turned_degrees: int = 0
    """How far the page was turned clockwise to stand upright; width, height and boxes are those of the upright page."""
    seconds: float = 0.0
    """What reading this page took."""
    text: str = ""
    """The page's text in reading order, one row per line; the vision model's own words where that read it."""
    note: str = ""
    """Why it was not read in the way that was asked for."""


def enclosing(words: tuple[Word, ...]) -> Box:
    boxes = [word.box for word in words]
    return Box(
        min(box.left for box in boxes),
        min(box.top for box in boxes),
        max(box.right for box in boxes),
        max(box.bottom for box in boxes),
    )
