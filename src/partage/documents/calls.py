"""What the service and its reading processes say to each other: msgpack frames with a length before them."""

from __future__ import annotations

import struct
from typing import TypeAlias

import msgspec

from partage.documents.page import Page
from partage.documents.settings import Limits
from partage.documents.sniff import Kind

LENGTH = struct.Struct(">I")


class Inspect(msgspec.Struct, tag=True, frozen=True):
    """Open the file and count its pages."""

    path: str
    kind: Kind


class ReadPage(msgspec.Struct, tag=True, frozen=True):
    """Words of one page: from its text layer where that is good, else by OCR."""

    path: str
    kind: Kind
    number: int


class RenderPage(msgspec.Struct, tag=True, frozen=True):
    """One page as a JPEG, upright, for a vision model."""

    path: str
    kind: Kind
    number: int
    turned_degrees: int = 0


class Setup(msgspec.Struct, tag=True, frozen=True):
    """The first frame: under which limits to work."""

    limits: Limits
    niceness: int


class Pages(msgspec.Struct, tag=True, frozen=True):
    count: int


class Picture(msgspec.Struct, tag=True, frozen=True):
    jpeg: bytes


class Read(msgspec.Struct, tag=True, frozen=True):
    page: Page


class Unreadable(msgspec.Struct, tag=True, frozen=True):
    message: str


Call: TypeAlias = Inspect | ReadPage | RenderPage
Reply: TypeAlias = Pages | Picture | Read | Unreadable

_encoder = msgspec.msgpack.Encoder()


def frame(message: Call | Setup | Reply) -> bytes:
    body = _encoder.encode(message)
    return LENGTH.pack(len(body)) + body
