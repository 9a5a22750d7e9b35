"""Opens PDF files: words of the text layer with their boxes, and pages rendered to pixels. Runs in a reading process."""

from __future__ import annotations

import ctypes
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from statistics import median

import numpy as np
import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c
from numpy.typing import NDArray

from partage.documents.layout import split_at_gaps
from partage.documents.page import Box, Segment, Word
from partage.documents.settings import Limits
from partage.errors import DocumentUnreadable

RENDER_DPI = 200
LEAST_DPI = 50
"""Below it print is no longer legible."""
WORD_GAP = 0.25
SEGMENT_GAP = 1.0
"""Gaps in letter heights: wider than the first parts words, wider than the second parts segments."""


@contextmanager
def opened(path: str) -> Generator[pdfium.PdfDocument]:
    try:
        document = pdfium.PdfDocument(path)
    except pdfium.PdfiumError as error:
        if pdfium_c.FPDF_GetLastError() == pdfium_c.FPDF_ERR_PASSWORD or "assword" in str(error):
            raise DocumentUnreadable("the PDF is encrypted; remove its password and send it again") from error
        raise DocumentUnreadable("the PDF is corrupt: it cannot be opened; export or scan it again") from error
    try:
        yield document
    finally:
        document.close()


@contextmanager
def page_of(document: pdfium.PdfDocument, number: int) -> Generator[pdfium.PdfPage]:
    try:
        page = document[number - 1]
    except (pdfium.PdfiumError, IndexError) as error:
        raise DocumentUnreadable(f"page {number} of the PDF is corrupt and cannot be opened") from error
    try:
        yield page
    finally:
        page.close()


def text_segments(page: pdfium.PdfPage) -> tuple[Segment, ...]:
    """The text layer, in points from the page's upper left corner as it is shown."""
    textpage = page.get_textpage()
    try:
        words = list(_words(page, textpage))
    finally:
        textpage.close()
    return tuple(segment for line in _lines(words) for segment in split_at_gaps(line, SEGMENT_GAP))


def is_good(segments: tuple[Segment, ...]) -> bool:
    """Enough text, and text that is not the debris of a font without a character map."""
    text = "".join(segment.text for segment in segments)
    legible = sum(character.isalnum() or character in ".,:;-/()%€$£'\"&@+#" for character in text)
    odd = sum(character == "\ufffd" or "\ue000" <= character <= "\uf8ff" or ord(character) < 32 for character in text)
    return legible >= 25 and legible >= 0.7 * len(text) and odd <= 0.02 * len(text)


def render(page: pdfium.PdfPage, number: int, limits: Limits) -> NDArray[np.uint8]:
    """The page in RGB, at 200 dpi or what the limit allows."""
    width, height = page.get_size()
    scale = RENDER_DPI / 72
    if width * height * scale**2 > limits.render_pixels:
        scale = (limits.render_pixels / (width * height)) ** 0.5
    if scale * 72 < LEAST_DPI:
        size = f"{width / 72 * 2.54:.0f} x {height / 72 * 2.54:.0f} cm"
        raise DocumentUnreadable(f"page {number} is too large to render ({size}); split or scale it down")
    bitmap = page.render(scale=scale, rev_byteorder=True)  # pyright: ignore[reportArgumentType] its default 1 hides that it is a float
    try:
        return np.ascontiguousarray(bitmap.to_numpy()[..., :3])
    finally:
        bitmap.close()


def _words(page: pdfium.PdfPage, textpage: pdfium.PdfTextPage) -> Iterator[Word]:
    width, height = page.get_size()
    letters: list[tuple[str, Box]] = []
    for index in range(textpage.count_chars()):
        character = chr(pdfium_c.FPDFText_GetUnicode(textpage.raw, index))
        if character.isspace() or character in "\0\x02":
            # pdfium makes up line ends and spaces; \x02 stands for a hyphen at a line's end.
            if character == "\x02" and letters:
                letters.append(("-", letters[-1][1]))
            yield from _word(letters)
            letters = []
            continue
        box = _shown(page, textpage.get_charbox(index, loose=True), width, height)
        if letters and _apart(letters[-1][1], box):
            yield from _word(letters)
            letters = []
        letters.append((character, box))
    yield from _word(letters)


def _word(letters: list[tuple[str, Box]]) -> Iterator[Word]:
    if letters:
        box = letters[0][1]
        for _, other in letters[1:]:
            box |= other
        yield Word("".join(character for character, _ in letters), box)


def _apart(left: Box, right: Box) -> bool:
    height = max(left.height, right.height, 1e-3)
    return abs(left.middle_y - right.middle_y) > 0.5 * height or not (
        -height < right.left - left.right < WORD_GAP * height
    )


def _shown(page: pdfium.PdfPage, box: tuple[float, float, float, float], width: float, height: float) -> Box:
    """From the page's own space (origin below, not rotated, not cropped) to the page as it is shown."""
    grain = 64  # FPDF_PageToDevice answers in whole pixels
    left, bottom, right, top = box
    xs: list[float] = []
    ys: list[float] = []
    for x, y in ((left, top), (right, bottom)):
        shown_x, shown_y = ctypes.c_int(), ctypes.c_int()
        pdfium_c.FPDF_PageToDevice(
            page.raw,
            0,
            0,
            int(width * grain),
            int(height * grain),
            0,
            x,
            y,
            ctypes.byref(shown_x),
            ctypes.byref(shown_y),
        )
        xs.append(shown_x.value / grain)
        ys.append(shown_y.value / grain)
    return Box(min(xs), min(ys), max(xs), max(ys))


def _lines(words: list[Word]) -> list[list[Word]]:
    """Words on one baseline, whatever order the file has them in."""
    lines: list[list[Word]] = []
    for word in sorted(words, key=lambda word: word.box.middle_y):
        line = lines[-1] if lines else None
        if line is None or word.box.middle_y - median(w.box.middle_y for w in line) > 0.4 * word.box.height:
            lines.append([word])
        else:
            line.append(word)
    return [sorted(line, key=lambda word: word.box.left) for line in lines]
