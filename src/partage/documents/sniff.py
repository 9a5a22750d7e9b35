"""Tells what a file is by its first bytes, and refuses one that is not what its name or type says."""

from __future__ import annotations

from enum import StrEnum
from pathlib import PurePath

from partage.errors import UnsupportedDocument

HEAD_BYTES = 1024


class Kind(StrEnum):
    PDF = "pdf"
    PNG = "png"
    JPEG = "jpeg"
    TIFF = "tiff"
    WEBP = "webp"


_SUFFIXES = {
    ".pdf": Kind.PDF,
    ".png": Kind.PNG,
    ".jpg": Kind.JPEG,
    ".jpeg": Kind.JPEG,
    ".jpe": Kind.JPEG,
    ".tif": Kind.TIFF,
    ".tiff": Kind.TIFF,
    ".webp": Kind.WEBP,
}
_MEDIA_TYPES = {
    "application/pdf": Kind.PDF,
    "image/png": Kind.PNG,
    "image/jpeg": Kind.JPEG,
    "image/jpg": Kind.JPEG,
    "image/tiff": Kind.TIFF,
    "image/webp": Kind.WEBP,
}
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_SAYS_NOTHING = ("", "application/octet-stream", "binary/octet-stream", "application/x-www-form-urlencoded")


def kind_of(head: bytes, name: str = "", media_type: str = "") -> Kind:
    """Raises UnsupportedDocument, naming what was found and what was promised."""
    shown = PurePath(name).name or "the file"
    if not head:
        raise UnsupportedDocument(f"{shown} is empty; send PDF, PNG, JPEG, TIFF or WebP")
    kind = _by_content(head)
    suffix = PurePath(name).suffix.lower()
    media_type = media_type.partition(";")[0].strip().lower()
    if kind is None and head[4:8] == b"ftyp" and head[8:12] in _HEIC:
        raise UnsupportedDocument(
            f"{shown} is a HEIC photo, which is not read here; export it as JPEG (an iPhone takes JPEG with the camera format "
            '"Most Compatible")'
        )
    if kind is None:
        promised = _SUFFIXES.get(suffix) or _MEDIA_TYPES.get(media_type)
        but = f"is not a {promised} file, as its name or type says, nor" if promised else "is not"
        raise UnsupportedDocument(f"{shown} {but} any kind that is read here; send PDF, PNG, JPEG, TIFF or WebP")
    for promised, where in (
        (_SUFFIXES.get(suffix), f"its name ends in {suffix}"),
        (_MEDIA_TYPES.get(media_type), media_type),
    ):
        if promised is not None and promised is not kind:
            raise UnsupportedDocument(
                f"{shown} is a {kind} file, but it was sent as {promised} ({where}); name it as what it is"
            )
    if media_type not in _SAYS_NOTHING and media_type not in _MEDIA_TYPES:
        raise UnsupportedDocument(f"{shown} is a {kind} file, but it was sent as {media_type}; send it as what it is")
    return kind


def _by_content(head: bytes) -> Kind | None:
    if b"%PDF-" in head[:HEAD_BYTES]:  # readers allow some bytes before it, and so do real files
        return Kind.PDF
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return Kind.PNG
    if head.startswith(b"\xff\xd8\xff"):
        return Kind.JPEG
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return Kind.TIFF
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return Kind.WEBP
    return None
