from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from partage.api.unpacking import unpacked
from partage.errors import InvalidRequest, PartageError, TooLarge, Unsupported

BODY = b'{"model": "chatty"}' * 50
LIMIT = 10_000


def bare(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def arrow(codec: str) -> Callable[[bytes], bytes]:
    def pack(data: bytes) -> bytes:
        pyarrow: Any = pytest.importorskip("pyarrow", reason="zstd and br are unpacked by pyarrow")
        return pyarrow.compress(data, codec=codec, asbytes=True)

    return pack


WAYS = [
    ("gzip", gzip.compress), ("X-GZIP", gzip.compress), ("deflate", zlib.compress), ("deflate", bare),
    ("zstd", arrow("zstd")), ("br", arrow("brotli")),
]  # fmt: skip
ways = pytest.mark.parametrize(("encoding", "pack"), WAYS)


@ways
def test_what_was_packed_comes_out(encoding: str, pack: Callable[[bytes], bytes]):
    assert unpacked(pack(BODY), encoding, LIMIT) == BODY


@ways
def test_a_bomb_is_refused_at_the_limit(encoding: str, pack: Callable[[bytes], bytes]):
    with pytest.raises(TooLarge, match="unpacks to more"):
        unpacked(pack(bytes(50 * LIMIT)), encoding, LIMIT)


@ways
def test_rubbish_is_the_clients_mistake(encoding: str, pack: Callable[[bytes], bytes]):
    with pytest.raises(InvalidRequest, match="cannot be unpacked"):
        unpacked(b"\xff\xfe rubbish", encoding, LIMIT)


@pytest.mark.parametrize(("encoding", "pack"), [way for way in WAYS if way[0] != "br"])
def test_a_body_cut_short_is_not_half_a_body(encoding: str, pack: Callable[[bytes], bytes]):
    with pytest.raises(PartageError):
        unpacked(pack(BODY)[:-3], encoding, LIMIT)


def test_an_encoding_that_nobody_knows_is_named():
    with pytest.raises(Unsupported, match='"gzip, zstd" is none of gzip, deflate, zstd, br, identity'):
        unpacked(BODY, "gzip, zstd", LIMIT)
