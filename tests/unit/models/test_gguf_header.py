from __future__ import annotations

import io
import struct
import time
import tracemalloc
from pathlib import Path

import pytest
from gguf_files import TINY, gguf_bytes, text
from hypothesis import given
from hypothesis import strategies as st

from partage.errors import ModelFileError
from partage.models import anatomy as facts
from partage.models import gguf_header
from partage.models.gguf_header import LongArray, read_array, read_header


def header_of(tmp_path: Path, data: bytes):
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    return read_header(path)


def test_metadata_and_tensors_are_read(tmp_path: Path):
    header = header_of(tmp_path, gguf_bytes())
    assert header.text("general.architecture") == "llama"
    assert header.metadata["llama.attention.head_count_kv"] == [1, 2]
    (tensor,) = header.tensors
    assert (tensor.name, tensor.type, tensor.shape, tensor.size_bytes) == ("token_embd.weight", "F32", (8, 3), 96)
    assert header.positions == (len(gguf_bytes()) - 96,)


def test_strings_are_stepped_over_and_fetched_on_demand(tiny_gguf: Path):
    header = read_header(tiny_gguf)
    tokens = header.metadata["tokenizer.ggml.tokens"]
    assert isinstance(tokens, LongArray)
    assert header.count("tokenizer.ggml.tokens") == 3
    assert read_array(tiny_gguf, tokens) == ["a", "b", "c"]


def test_block_types_have_their_exact_size(tmp_path: Path):
    tensors = (("a", (256, 2), 12, 0), ("b", (64,), 8, 288))
    header = header_of(tmp_path, gguf_bytes(tensors=tensors, data_bytes=400))
    assert [(tensor.type, tensor.size_bytes) for tensor in header.tensors] == [("Q4_K", 288), ("Q8_0", 68)]


def test_no_number_leaves_as_nan_or_infinity(tmp_path: Path):
    header = header_of(tmp_path, gguf_bytes({"a": ("f32", float("nan")), "b": ("[f32]", [float("inf"), 1.0])}))
    assert header.metadata == {"a": None, "b": [None, 1.0]}


def _start(tensors: int = 0, entries: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, entries)


def _row(name: str = "t", dimensions: int = 1, shape: tuple[int, ...] = (32,), kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", dimensions, *shape, kind, offset)


HOSTILE = {
    "empty": (b"", "truncated"),
    "something else": (b"PK\x03\x04" + bytes(100), "not a GGUF file"),
    "version 1": (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1 is not supported"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
    "too many tensors": (_start(tensors=1 << 60), "not a believable header"),
    "too many keys": (_start(entries=1 << 60), "not a believable header"),
    "keys that are not there": (_start(entries=4000), "truncated"),
    "a huge key": (_start(entries=1) + struct.pack("<Q", 1 << 62), "a metadata key .* bytes long"),
    "a huge string": (_start(entries=1) + text("k") + struct.pack("<IQ", 8, 1 << 63), "the value of 'k'"),
    "a string past the end": (_start(entries=1) + text("k") + struct.pack("<IQ", 8, 1 << 20), "truncated"),
    "a huge array": (_start(entries=1) + text("k") + struct.pack("<IIQ", 9, 4, 1 << 62), "announces an array"),
    "an array past the end": (_start(entries=1) + text("k") + struct.pack("<IIQ", 9, 4, 1 << 20), "truncated"),
    "strings past the end": (_start(entries=1) + text("k") + struct.pack("<IIQQ", 9, 8, 9, 1 << 63), "truncated"),
    "arrays of arrays": (_start(entries=1) + text("k") + struct.pack("<IIQ", 9, 9, 1), "array of arrays"),
    "an unknown value type": (_start(entries=1) + text("k") + struct.pack("<I", 99), "'k' has the unknown type 99"),
    "a key twice": (_start(entries=2) + (text("k") + struct.pack("<II", 4, 1)) * 2, "'k' appears twice"),
    "a bad alignment": (_start(entries=1) + text("general.alignment") + struct.pack("<II", 4, 33), "power of two"),
    "a tensor twice": (_start(tensors=2) + _row() * 2 + bytes(256), "'t' appears twice"),
    "an unknown tensor type": (_start(tensors=1) + _row(kind=77) + bytes(256), "'t' has the unknown type 77"),
    "no dimensions": (_start(tensors=1) + _row(dimensions=0, shape=()) + bytes(256), "0 dimensions"),
    "many dimensions": (_start(tensors=1) + _row(dimensions=1 << 30) + bytes(256), "1073741824 dimensions"),
    "a shape that overflows": (
        _start(tensors=1) + _row(dimensions=4, shape=(1 << 40,) * 4) + bytes(256),
        "impossible shape",
    ),
    "an empty shape": (_start(tensors=1) + _row(shape=(0,)) + bytes(256), "impossible shape"),
    "half a block": (_start(tensors=1) + _row(shape=(33,), kind=8) + bytes(256), "impossible shape"),
    "an offset past the end": (_start(tensors=1) + _row(offset=(1 << 64) - 32) + bytes(256), "'t' ends at byte"),
    "an uneven offset": (_start(tensors=1) + _row(offset=5) + bytes(256), "not a multiple"),
    "weights cut off": (gguf_bytes(data_bytes=95), "'token_embd.weight' ends at byte"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_refused_naming_the_file_and_what_is_wrong(case: str, tmp_path: Path):
    data, wrong = HOSTILE[case]
    with pytest.raises(ModelFileError, match=rf"model\.gguf: .*{wrong}"):
        header_of(tmp_path, data)


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_header_never_allocates_what_it_announces(case: str, tmp_path: Path):
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError):
            header_of(tmp_path, HOSTILE[case][0])
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_every_truncation_is_refused():
    whole = gguf_bytes()
    for length in range(len(whole)):
        with pytest.raises(ModelFileError):
            gguf_header._read_through_windows(io.BytesIO(whole[:length]), length)


_WHOLE = gguf_bytes()


@given(
    st.lists(st.tuples(st.integers(0, len(_WHOLE) - 1), st.binary(min_size=1, max_size=9)), min_size=1, max_size=4),
)
def test_a_mutated_file_is_read_or_refused_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[tuple[int, bytes]]
):
    data = bytearray(_WHOLE)
    for position, piece in cuts:
        data[position : position + len(piece)] = piece
    path = tmp_path_factory.getbasetemp() / "mutated.gguf"
    path.write_bytes(data)
    try:
        found = facts.anatomy(read_header(path))
    except ModelFileError:
        return
    assert found.weights_bytes <= len(data)
    assert len(found.heads) == found.layers


def test_a_header_larger_than_the_first_window_is_read(tmp_path: Path):
    metadata = {**TINY, "big": ("[str]", ["x" * 1000] * 9000), "after": ("u32", 7)}
    header = header_of(tmp_path, gguf_bytes(metadata))
    assert header.count("big") == 9000
    assert header.metadata["after"] == 7


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(ModelFileError, match=r"gone\.gguf: cannot be read: No such file"):
        read_header(tmp_path / "gone.gguf")


def test_a_vocabulary_of_150_000_tokens_and_as_many_merges_is_read_in_a_blink(tmp_path: Path):
    """Measured 25 ms of processor time (bench/gguf_header.py); the bound is an order of magnitude away."""
    words = [f"token{number}" for number in range(150_000)]
    path = tmp_path / "large.gguf"
    path.write_bytes(
        gguf_bytes({**TINY, "tokenizer.ggml.tokens": ("[str]", words), "tokenizer.ggml.merges": ("[str]", words)})
    )
    started = time.perf_counter()
    header = read_header(path)
    assert time.perf_counter() - started < 1.0
    assert header.count("tokenizer.ggml.tokens") == 150_000
