"""Rewrites the weights of one type in another, tensor by tensor; the metadata is carried over byte for byte."""

from __future__ import annotations

import math
import struct
from itertools import accumulate
from pathlib import Path

import gguf
import numpy as np

from partage.domain import TensorFacts
from partage.errors import ModelFileError
from partage.models.gguf_header import Header, read_header

_FILE_TYPE = "general.file_type"
_FILE_TYPES = {"Q8_0": gguf.LlamaFileType.MOSTLY_Q8_0, "Q4_0": gguf.LlamaFileType.MOSTLY_Q4_0}


def requantise(source: Path, target: Path, *, from_: str, to: str) -> None:
    """Write `source` to `target` with every tensor of type `from_` as `to`. Raises ModelFileError, OSError."""
    header = read_header(source)
    if all(tensor.type != from_ for tensor in header.tensors):
        raise ModelFileError(f"{source}: no tensor has the type {from_}")
    types = [gguf.GGMLQuantizationType[to if tensor.type == from_ else tensor.type] for tensor in header.tensors]
    with source.open("rb") as old, target.open("wb") as new:
        new.write(_metadata(old.read(header.table_position), header, to))
        new.write(_table(header, types))
        for tensor, position, type_ in zip(header.tensors, header.positions, types, strict=True):
            new.write(bytes(-new.tell() % header.alignment))
            old.seek(position)
            data = old.read(tensor.size_bytes)
            new.write(_rewritten(data, tensor, type_) if tensor.type == from_ else data)
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


def _rewritten(data: bytes, tensor: TensorFacts, to: gguf.GGMLQuantizationType) -> bytes:
    rows = np.frombuffer(data, np.uint8).reshape(math.prod(tensor.shape[1:]), -1)
    weights = gguf.quants.dequantize(rows, gguf.GGMLQuantizationType[tensor.type])
    return gguf.quants.quantize(weights, to).tobytes()
