from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from partage.errors import ModelFileError
from partage.models.safetensors import Safetensors


def safetensors_bytes(table: object, data: bytes = b"") -> bytes:
    encoded = json.dumps(table).encode()
    return len(encoded).to_bytes(8, "little") + encoded + data


ROW = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
WHOLE = safetensors_bytes({"__metadata__": {"format": "pt"}, "a": ROW}, np.arange(4, dtype="<f4").tobytes())


def opened(tmp_path: Path, data: bytes) -> Safetensors:
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    return Safetensors(path)


def test_tensors_are_read(tmp_path: Path):
    tensors = opened(tmp_path, WHOLE)
    assert tensors.shapes() == {"a": (2, 2)}
    assert tensors.read("a").tolist() == [[0.0, 1.0], [2.0, 3.0]]


@pytest.mark.parametrize(
    ("dtype", "data"),
    [("F16", np.array([1.5, -2.0], "<f2").tobytes()), ("BF16", np.array([0x3FC0, 0xC000], "<u2").tobytes())],
)
def test_half_precision_becomes_float32_exactly(tmp_path: Path, dtype: str, data: bytes):
    tensors = opened(tmp_path, safetensors_bytes({"a": {"dtype": dtype, "shape": [2], "data_offsets": [0, 4]}}, data))
    assert tensors.read("a").tolist() == [1.5, -2.0]


@pytest.mark.parametrize(
    ("data", "wrong"),
    [
        (b"", "a table of 0 bytes"),
        ((1 << 62).to_bytes(8, "little") + b"{}", "announces a table"),
        ((2).to_bytes(8, "little") + b"{x", "broken table"),
        (safetensors_bytes([]), "broken table"),
        (safetensors_bytes({"a": {**ROW, "shape": [-1, 4]}}, bytes(16)), "broken table"),
        (safetensors_bytes({"a": {**ROW, "shape": [1] * 9}}, bytes(16)), "broken table"),
        (safetensors_bytes({"a": {**ROW, "dtype": "F4"}}, bytes(16)), "unknown type 'F4'"),
        (safetensors_bytes({"a": ROW}, bytes(15)), "ends at byte 16 of 15"),
        (safetensors_bytes({"a": {**ROW, "data_offsets": [16, 0]}}, bytes(16)), "ends at byte"),
        (safetensors_bytes({"a": {**ROW, "shape": [1 << 40, 1 << 40]}}, bytes(16)), "has 16 bytes"),
        ((8 << 20).to_bytes(8, "little") + b"[" * (8 << 20), "broken table"),
    ],
    ids=range(11),
)
def test_a_hostile_file_is_refused_naming_what_is_wrong(tmp_path: Path, data: bytes, wrong: str):
    with pytest.raises(ModelFileError, match=rf"model\.safetensors: .*{wrong}"):
        opened(tmp_path, data)


@given(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=6))
def test_a_mutated_file_is_read_or_refused_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, position: int, piece: bytes
):
    path = tmp_path_factory.getbasetemp() / "mutated.safetensors"
    path.write_bytes(WHOLE[:position] + piece + WHOLE[position + len(piece) :])
    try:
        tensors = Safetensors(path)
    except ModelFileError:
        return
    for name in tensors:
        assert tensors.read(name).nbytes <= 4 * len(WHOLE)
