"""The reading process: `python -m partage.documents.reading` answers calls on its standard input until that closes.

Whatever a hostile file does, it does here: in a process with bounded memory, low priority, and nothing to lose.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time
from dataclasses import replace
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO, assert_never

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from partage.documents import image, pdf
from partage.documents.calls import (
    LENGTH,
    Call,
    Inspect,
    Pages,
    Picture,
    Read,
    ReadPage,
    RenderPage,
    Reply,
    Setup,
    Unreadable,
    frame,
)
from partage.documents.layout import text
from partage.documents.page import Box, Page, ReadBy, Segment, Unit, Word
from partage.documents.settings import Limits
from partage.documents.sniff import Kind
from partage.errors import DocumentError, DocumentUnreadable

if TYPE_CHECKING:
    from partage.documents.ocr import Recogniser

PR_SET_PDEATHSIG = 1
VISION_SIDE = 1600
"""Pixels on the longer side that a vision model is shown."""


@cache
def recogniser() -> Recogniser:
    # Loaded on first use: a document with a text layer needs neither the second nor the gigabyte.
    from partage.documents.ocr import Recogniser  # noqa: PLC0415

    return Recogniser()


def answer(call: Call, limits: Limits) -> Reply:
    match call:
        case Inspect():
            return Pages(_count(call.path, call.kind, limits))
        case ReadPage():
            return Read(_read(call, limits))
        case RenderPage():
            return Picture(_jpeg(_pixels(call.path, call.kind, call.number, limits)[0], call.turned_degrees))
        case _:
            assert_never(call)


def _count(path: str, kind: Kind, limits: Limits) -> int:
    if kind is Kind.PDF:
        with pdf.opened(path) as document:
            count = len(document)
            if count:
                with pdf.page_of(document, 1):
                    pass
    else:
        with image.opened(path, kind, limits) as opened:
            count = image.frames(opened, kind)
    if count == 0:
        raise DocumentUnreadable("the document has no pages")
    if count > limits.pages:
        raise DocumentUnreadable(
            f"the document has {count} pages, more than the {limits.pages} that are read; split it"
        )
    return count


def _read(call: ReadPage, limits: Limits) -> Page:
    started = time.perf_counter()
    page = _from_text_layer(call) if call.kind is Kind.PDF else None
    page = page or _from_pixels(call, limits)
    return replace(page, text=text(page), seconds=round(time.perf_counter() - started, 3))


def _from_text_layer(call: ReadPage) -> Page | None:
    with pdf.opened(call.path) as document, pdf.page_of(document, call.number) as page:
        segments = pdf.text_segments(page)
        width, height = page.get_size()
    if not pdf.is_good(segments):
        return None
    return Page(
        number=call.number,
        width=width,
        height=height,
        unit=Unit.POINT,
        read_by=ReadBy.TEXT_LAYER,
        segments=segments,
    )


def _from_pixels(call: ReadPage, limits: Limits) -> Page:
    picture, width, height, unit = _pixels(call.path, call.kind, call.number, limits)
    reading = recogniser().read(picture)
    scale = width / picture.shape[1]
    if reading.turned_degrees in (90, 270):
        width, height = height, width
    return Page(
        number=call.number,
        width=width,
        height=height,
        unit=unit,
        read_by=ReadBy.OCR,
        segments=tuple(_scaled(segment, scale) for segment in reading.segments),
        skew_rad=reading.skew_rad,
        turned_degrees=reading.turned_degrees,
    )


def _pixels(path: str, kind: Kind, number: int, limits: Limits) -> tuple[NDArray[np.uint8], float, float, Unit]:
    """The page's pixels within bounds, and the size that boxes are given in."""
    if kind is Kind.PDF:
        with pdf.opened(path) as document, pdf.page_of(document, number) as page:
            width, height = page.get_size()
            return pdf.render(page, number, limits), width, height, Unit.POINT
    with image.opened(path, kind, limits) as opened:
        picture = image.pixels(opened, number)
    height, width = picture.shape[:2]
    return image.bounded(picture, limits), float(width), float(height), Unit.PIXEL


def _jpeg(picture: NDArray[np.uint8], turned_degrees: int) -> bytes:
    upright = Image.fromarray(np.rot90(picture, -turned_degrees // 90))
    upright.thumbnail((VISION_SIDE, VISION_SIDE))
    out = BytesIO()
    upright.save(out, "JPEG", quality=88)
    return out.getvalue()


def _scaled(segment: Segment, scale: float) -> Segment:
    return Segment(
        tuple(
            Word(
                word.text,
                Box(word.box.left * scale, word.box.top * scale, word.box.right * scale, word.box.bottom * scale),
                word.confidence,
            )
            for word in segment.words
        )
    )


def serve(calls: BinaryIO, replies: BinaryIO) -> None:
    setup = msgspec.msgpack.decode(_next_frame(calls), type=Setup)
    _confine(setup)
    decoder = msgspec.msgpack.Decoder(Inspect | ReadPage | RenderPage)
    while body := _next_frame(calls):
        try:
            reply = answer(decoder.decode(body), setup.limits)
        except DocumentError as error:
            reply = Unreadable(error.message)
        except MemoryError:
            reply = Unreadable("reading this document needs more memory than is allowed; scale it down or split it")
        replies.write(frame(reply))
        replies.flush()


def _next_frame(stream: BinaryIO) -> bytes:
    head = stream.read(LENGTH.size)
    return stream.read(LENGTH.unpack(head)[0]) if len(head) == LENGTH.size else b""


def _confine(setup: Setup) -> None:
    os.nice(setup.niceness)
    resource.setrlimit(resource.RLIMIT_AS, (setup.limits.memory_bytes, setup.limits.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    # A service that is killed takes its readers with it, also in the middle of a page.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C on a terminal reaches the whole group; the service decides
    # Libraries print to standard output; the replies go where no library writes.
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, replies)


if __name__ == "__main__":
    main()
