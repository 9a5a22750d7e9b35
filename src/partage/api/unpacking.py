"""Request bodies that come compressed: gzip, deflate, zstd and br, unpacked up to a limit, whatever they claim to hold."""

from __future__ import annotations

import importlib
import zlib
from typing import Any

from partage.errors import InvalidRequest, TooLarge, Unsupported

ENCODINGS = ("gzip", "deflate", "zstd", "br")
_ARROW_CODECS = {"zstd": "zstd", "br": "brotli"}
_ZLIB, _RAW, _GZIP = zlib.MAX_WBITS, -zlib.MAX_WBITS, zlib.MAX_WBITS | 16


def unpacked(body: bytes, encoding: str, limit_bytes: int) -> bytes:
    """Blocks for as long as that takes. Raises TooLarge, InvalidRequest, Unsupported."""
    match encoding.strip().lower():
        case "gzip" | "x-gzip":
            data = _inflated(body, _GZIP, limit_bytes)
        case "deflate":
            # By the letter zlib's format; some send the bare stream. The first has a header that the other cannot begin with.
            headed = len(body) > 1 and body[0] & 0x0F == zlib.DEFLATED and int.from_bytes(body[:2], "big") % 31 == 0
            data = _inflated(body, _ZLIB if headed else _RAW, limit_bytes)
        case "zstd" | "br" as other:
            data = _by_arrow(body, other, limit_bytes)
        case other:
            raise Unsupported(f'content-encoding: "{other[:40]}" is none of {", ".join(ENCODINGS)}, identity')
    if len(data) > limit_bytes:
        raise TooLarge(f"the body unpacks to more than the {limit_bytes / 2**20:.0f} MiB this server takes")
    return data


def _inflated(body: bytes, window: int, limit_bytes: int) -> bytes:
    unpacker = zlib.decompressobj(window)
    try:
        data = unpacker.decompress(body, limit_bytes + 1)
    except zlib.error as error:
        raise InvalidRequest(f"content-encoding: the body cannot be unpacked: {error}") from None
    if not unpacker.eof and len(data) <= limit_bytes:
        raise InvalidRequest("content-encoding: the body ends in the middle")
    return data


def _by_arrow(body: bytes, encoding: str, limit_bytes: int) -> bytes:
    """Python has neither before 3.14; pyarrow, which the RAG service brings, has both. Loaded for the first who asks."""
    try:
        arrow: Any = importlib.import_module("pyarrow")
    except ImportError:
        raise Unsupported(
            f"content-encoding: {encoding} needs pyarrow on the server (partage[rag]); send gzip, or no compression"
        ) from None
    try:
        with arrow.CompressedInputStream(arrow.BufferReader(body), _ARROW_CODECS[encoding]) as stream:
            return stream.read(limit_bytes + 1)
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"content-encoding: the body cannot be unpacked: {error}") from None
