"""Reads safetensors files: a length, a JSON table, and the raw numbers. Bounded, for the file may be hostile.

Format: README of the safetensors project (8 bytes little-endian header length, JSON, data).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt

from partage.errors import ModelFileError

_LARGEST_TABLE_BYTES = 16 << 20
_MOST_TENSORS = 65_536
_WIDTHS = {"F32": 4, "F16": 2, "BF16": 2, "I64": 8}

_Size = Annotated[int, msgspec.Meta(ge=0, le=1 << 48)]


class _Row(msgspec.Struct, frozen=True):
    dtype: str
    shape: Annotated[list[_Size], msgspec.Meta(max_length=4)]
    data_offsets: tuple[_Size, _Size]


class Safetensors:
    """The tensors of one file, converted to float32 one at a time. Raises ModelFileError throughout."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with path.open("rb") as file:
                file_bytes = file.seek(0, 2)
                file.seek(0)
                table_bytes = int.from_bytes(file.read(8), "little")
                if not 2 <= table_bytes <= min(_LARGEST_TABLE_BYTES, file_bytes - 8):
                    raise self._wrong(f"announces a table of {table_bytes} bytes in a file of {file_bytes}")
                table = msgspec.json.decode(file.read(table_bytes), type=dict[str, msgspec.Raw])
            table.pop("__metadata__", None)
            if len(table) > _MOST_TENSORS:
                raise self._wrong(f"announces {len(table)} tensors")
            self._rows = {name: msgspec.json.decode(raw, type=_Row) for name, raw in table.items()}
        except OSError as error:
            raise self._wrong(f"cannot be read: {error.strerror}") from error
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise self._wrong(f"has a broken table: {error}") from error
        self._data_position = 8 + table_bytes
        for name, row in self._rows.items():
            self._check(name, row, file_bytes - self._data_position)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(row.shape) for name, row in self._rows.items()}

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def read(self, name: str) -> npt.NDArray[np.float32]:
        """One tensor; whole numbers become float32 too."""
        row = self._rows[name]
        start, end = row.data_offsets
        with self._path.open("rb") as file:
            file.seek(self._data_position + start)
            data = file.read(end - start)
        match row.dtype:
            case "F32":
                numbers = np.frombuffer(data, "<f4")
            case "F16":
                numbers = np.frombuffer(data, "<f2").astype(np.float32)
            case "BF16":
                numbers = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
            case _:
                numbers = np.frombuffer(data, "<i8").astype(np.float32)
        return numbers.reshape(row.shape)

    def _check(self, name: str, row: _Row, data_bytes: int) -> None:
        if row.dtype not in _WIDTHS:
            raise self._wrong(f"tensor {name!r} has the unknown type {row.dtype!r}")
        start, end = row.data_offsets
        if not start <= end <= data_bytes:
            raise self._wrong(f"tensor {name!r} ends at byte {end} of {data_bytes}")
        if end - start != math.prod(row.shape) * _WIDTHS[row.dtype]:
            raise self._wrong(f"tensor {name!r} of shape {tuple(row.shape)} has {end - start} bytes")

    def _wrong(self, what: str) -> ModelFileError:
        return ModelFileError(f"{self._path}: {what}")
