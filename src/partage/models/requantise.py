"""Rewrites the weights of one type in another, tensor by tensor; the metadata is carried over byte for byte."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path

import gguf
import numpy as np

from partage.domain import TensorFacts
from partage.errors import ModelFileError
from partage.models.anatomy import UNQUANTISED
from partage.models.gguf_header import Header, read_header

_FILE_TYPE = "general.file_type"
_FILE_TYPES = {
    name: gguf.LlamaFileType[f"MOSTLY_{name}"] for name in ("F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1")
}
_PIECE_WEIGHTS = 16 << 20
# Small, and the answers suffer. Source: llama.cpp, llama-quant.cpp, tensor_allows_quantization.
_KEPT = (
    "_norm",
    "ffn_gate_inp",
    "position_embd",
    "token_types",
    "attn_rel_b",
    "ssm_conv1d",
    "shortconv.conv",
    "time_mix",
)


def requantise(source: Path, target: Path, *, from_: str, to: str) -> None:
    """Write `source` to `target` with every tensor of type `from_` as `to`. Raises ModelFileError, OSError."""
    header = read_header(source)
    if all(tensor.type != from_ for tensor in header.tensors):
        raise ModelFileError(f"{source}: no tensor has the type {from_}")
    _rewrite(source, target, header, lambda tensor: tensor.type == from_, to)


def quantise(source: Path, target: Path, *, to: str) -> None:
    """Write an unquantised model with the weights that llama.cpp would choose as `to`. Raises ModelFileError, OSError."""
    block, _ = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[to]]

    def chosen(tensor: TensorFacts) -> bool:
        matrix = len(tensor.shape) > 1 and tensor.name.endswith("weight") and tensor.shape[0] % block == 0
        return matrix and tensor.type in UNQUANTISED and not any(part in tensor.name for part in _KEPT)

    header = read_header(source)
    if not any(map(chosen, header.tensors)):
        raise ModelFileError(f"{source}: no weights are left to be quantised")
    _rewrite(source, target, header, chosen, to)


def _rewrite(source: Path, target: Path, header: Header, chosen: Callable[[TensorFacts], bool], to: str) -> None:
    types = [gguf.GGMLQuantizationType[to if chosen(tensor) else tensor.type] for tensor in header.tensors]
    with source.open("rb") as old, target.open("wb") as new:
        new.write(_metadata(old.read(header.table_position), header, to))
        new.write(_table(header, types))
        for tensor, position, type_ in zip(header.tensors, header.positions, types, strict=True):
            new.write(bytes(-new.tell() % header.alignment))
            old.seek(position)
            convert = type_.name != tensor.type
            for piece in _pieces(tensor):
                data = old.read(piece)
                new.write(_rewritten(data, tensor, type_) if convert else data)
        new.write(bytes(-new.tell() % header.alignment))


def _metadata(data: bytes, header: Header, to: str) -> bytes:
    """Everything before the table, with the file's type told anew."""
    if not isinstance(old_type := header.metadata.get(_FILE_TYPE), int):
        return data
    entry = struct.pack(f"<Q{len(_FILE_TYPE)}sI", len(_FILE_TYPE), _FILE_TYPE.encode(), gguf.GGUFValueType.UINT32)
    return data.replace(entry + struct.pack("<I", old_type), entry + struct.pack("<I", _FILE_TYPES[to]), 1)


def _table(header: Header, types: list[gguf.GGMLQuantizationType]) -> bytes:
    sizes = [_size_bytes(tensor, type_) for tensor, type_ in zip(header.tensors, types, strict=True)]
    offsets = accumulate((-(-size // header.alignment) * header.alignment for size in sizes), initial=0)
    table = bytearray()
    for tensor, type_, offset in zip(header.tensors, types, offsets, strict=False):
        name, rank = tensor.name.encode(), len(tensor.shape)
        table += struct.pack(f"<Q{len(name)}sI{rank}QIQ", len(name), name, rank, *tensor.shape, type_, offset)
    return bytes(table)


def _size_bytes(tensor: TensorFacts, type_: gguf.GGMLQuantizationType) -> int:
    block, block_bytes = gguf.GGML_QUANT_SIZES[type_]
    if tensor.shape[0] % block:
        raise ModelFileError(f"tensor {tensor.name!r} has rows of {tensor.shape[0]}, which {type_.name} cannot hold")
    return math.prod(tensor.shape) // block * block_bytes


def _pieces(tensor: TensorFacts) -> Iterator[int]:
    """Sizes of whole rows, a bounded number of weights at a time: the vocabulary's matrix alone can be gigabytes."""
    rows = math.prod(tensor.shape[1:])
    row_bytes = tensor.size_bytes // rows
    at_a_time = max(1, _PIECE_WEIGHTS // tensor.shape[0])
    for first in range(0, rows, at_a_time):
        yield min(at_a_time, rows - first) * row_bytes


def _rewritten(data: bytes, tensor: TensorFacts, to: gguf.GGMLQuantizationType) -> bytes:
    rows = np.frombuffer(data, np.uint8).reshape(-1, tensor.size_bytes // math.prod(tensor.shape[1:]))
    weights = gguf.quants.dequantize(rows, gguf.GGMLQuantizationType[tensor.type])
    return gguf.quants.quantize(weights, to).tobytes()
