"""Reads the header of a GGUF file: metadata and tensor table, never the weights.

Bounded: the header is read through windows of the file, counts are checked against the bytes that are really there
before anything is made of them, and long arrays (the vocabulary) are stepped over; read_array() fetches one.
No mmap: a file that shrinks while it is mapped would kill the process.

Format: docs/gguf.md of the ggml project (versions 2 and 3, little-endian).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import BinaryIO, NoReturn, TypeAlias

from partage.domain import TensorFacts
from partage.errors import ModelFileError
from partage.json_value import JsonValue

# Most headers fit the first window; a larger one is read again through the next. Past the last it is not a header.
_WINDOWS_BYTES = (8 << 20, 32 << 20, 128 << 20)
_MOST_ENTRIES = 4096
_MOST_TENSORS = 65_536
_MOST_ELEMENTS = 2_097_152
_SHORT_ARRAY = 1024
"""Arrays of numbers up to this long are kept: they hold one value per layer."""
_LONGEST_KEY_BYTES = 65_535
_LONGEST_TENSOR_NAME_BYTES = 128
_MOST_DIMENSIONS = 4

# GGML type number -> name, weights per block, bytes per block.
_TENSOR_TYPES: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 40),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
}


class _Kind(IntEnum):
    """The type of a metadata value."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


_NUMBERS: dict[_Kind, struct.Struct] = {
    _Kind.UINT8: struct.Struct("<B"),
    _Kind.INT8: struct.Struct("<b"),
    _Kind.UINT16: struct.Struct("<H"),
    _Kind.INT16: struct.Struct("<h"),
    _Kind.UINT32: struct.Struct("<I"),
    _Kind.INT32: struct.Struct("<i"),
    _Kind.FLOAT32: struct.Struct("<f"),
    _Kind.BOOL: struct.Struct("<?"),
    _Kind.UINT64: struct.Struct("<Q"),
    _Kind.INT64: struct.Struct("<q"),
    _Kind.FLOAT64: struct.Struct("<d"),
}
_U32 = _NUMBERS[_Kind.UINT32]
_U64 = _NUMBERS[_Kind.UINT64]


@dataclass(frozen=True, slots=True)
class LongArray:
    """An array that was stepped over: so many elements of that kind at that position."""

    kind: int
    count: int
    position: int


Value: TypeAlias = "JsonValue | LongArray"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    metadata: Mapping[str, Value]
    """In file order; arrays of numbers are lists when short, everything longer is a LongArray."""
    tensors: tuple[TensorFacts, ...]
    table_position: int
    """Where the metadata ends and the table of tensors begins in the file."""
    positions: tuple[int, ...]
    """Where each tensor's weights begin in the file."""
    alignment: int

    def text(self, key: str) -> str:
        """The value of a string key; "" where there is none."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""

    def count(self, key: str) -> int:
        """How many elements an array key has; 0 where there is none."""
        value = self.metadata.get(key)
        if isinstance(value, LongArray):
            return value.count
        return len(value) if isinstance(value, list) else 0


class _WindowEnds(Exception):
    """The header goes on past the bytes at hand."""


def read_header(path: Path) -> Header:
    """Read a file's header. Raises ModelFileError naming the file and what is wrong with it."""
    try:
        with path.open("rb") as file:
            file_bytes = file.seek(0, 2)
            return _read_through_windows(file, file_bytes)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error.message}") from error


def read_array(path: Path, array: LongArray) -> list[JsonValue]:
    """Fetch an array that read_header() stepped over. Raises ModelFileError."""
    try:
        with path.open("rb") as file:
            reader = _Reader(file.read(_WINDOWS_BYTES[-1]), array.position)
            return reader.elements(_Kind(array.kind), array.count)
    except (OSError, _WindowEnds, ValueError) as error:
        raise ModelFileError(f"{path}: an array of the header cannot be read: {error}") from error


def _read_through_windows(file: BinaryIO, file_bytes: int) -> Header:
    for window_bytes in _WINDOWS_BYTES:
        file.seek(0)
        window = file.read(min(window_bytes, file_bytes))
        try:
            return _parse(_Reader(window), file_bytes)
        except _WindowEnds as ends:
            if len(window) >= file_bytes:
                raise ModelFileError(f"truncated: {ends}") from None
    raise ModelFileError(f"the header is longer than {_WINDOWS_BYTES[-1] >> 20} MiB")


def _parse(reader: _Reader, file_bytes: int) -> Header:
    magic = reader.take(4)
    if magic != b"GGUF":
        raise ModelFileError(f"not a GGUF file: it starts with {magic!r}")
    version = reader.number(_U32)
    if version not in {2, 3}:
        swapped = struct.unpack(">I", struct.pack("<I", version))[0]
        kind = "a big-endian GGUF" if swapped in {2, 3} else f"GGUF version {version}"
        raise ModelFileError(f"{kind} is not supported; versions 2 and 3, little-endian, are")
    tensor_count, entry_count = reader.number(_U64), reader.number(_U64)
    if tensor_count > _MOST_TENSORS or entry_count > _MOST_ENTRIES:
        raise ModelFileError(
            f"announces {tensor_count} tensors and {entry_count} metadata keys: not a believable header"
        )

    metadata: dict[str, Value] = {}
    for _ in range(entry_count):
        key = reader.string(_LONGEST_KEY_BYTES, "a metadata key")
        if key in metadata:
            raise ModelFileError(f"metadata key {key!r} appears twice")
        metadata[key] = reader.value(key)

    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 20 or alignment & (alignment - 1):
        raise ModelFileError(f"general.alignment is {alignment!r}; a power of two is needed")
    table_position = reader.position
    offsets: dict[str, tuple[TensorFacts, int]] = {}
    for _ in range(tensor_count):
        tensor, offset = reader.tensor()
        if tensor.name in offsets:
            raise ModelFileError(f"tensor {tensor.name!r} appears twice")
        offsets[tensor.name] = (tensor, offset)

    data_position = -(-reader.position // alignment) * alignment
    for tensor, offset in offsets.values():
        if offset % alignment:
            raise ModelFileError(f"tensor {tensor.name!r} starts at {offset}, not a multiple of {alignment}")
        if data_position + offset + tensor.size_bytes > file_bytes:
            raise ModelFileError(
                f"truncated: tensor {tensor.name!r} ends at byte {data_position + offset + tensor.size_bytes} "
                f"of a file of {file_bytes}"
            )
    return Header(
        metadata=metadata,
        tensors=tuple(tensor for tensor, _ in offsets.values()),
        table_position=table_position,
        positions=tuple(data_position + offset for _, offset in offsets.values()),
        alignment=alignment,
    )


class _Reader:
    """A position in a window of the file; every step is checked against the window's end."""

    def __init__(self, window: bytes, position: int = 0) -> None:
        self._window = window
        self.position = position

    def take(self, count: int) -> bytes:
        end = self.position + count
        if end > len(self._window):
            self._ends(f"{count} bytes")
        taken = self._window[self.position : end]
        self.position = end
        return taken

    def number(self, form: struct.Struct) -> int:
        if self.position + form.size > len(self._window):
            self._ends("a number")
        (value,) = form.unpack_from(self._window, self.position)
        self.position += form.size
        return value

    def string(self, longest_bytes: int, what: str) -> str:
        length = self.number(_U64)
        if length > longest_bytes:
            raise ModelFileError(f"{what} at byte {self.position} is {length} bytes long; at most {longest_bytes} are")
        # Tokenizers hold bytes that are no text; a reader must not fall over them.
        return self.take(length).decode("utf-8", errors="replace")

    def value(self, key: str) -> Value:
        kind = self._kind(key)
        if kind is _Kind.STRING:
            return self.string(_WINDOWS_BYTES[-1], f"the value of {key!r}")
        if kind is not _Kind.ARRAY:
            return self._finite(self.number(_NUMBERS[kind]))
        element = self._kind(key)
        if element is _Kind.ARRAY:
            raise ModelFileError(f"metadata key {key!r} is an array of arrays, which no known model has")
        count = self.number(_U64)
        if count > _MOST_ELEMENTS:
            raise ModelFileError(
                f"metadata key {key!r} announces an array of {count} elements; at most {_MOST_ELEMENTS}"
            )
        if count <= _SHORT_ARRAY and element is not _Kind.STRING:
            return self.elements(element, count)
        array = LongArray(element, count, self.position)
        self._skip(element, count)
        return array

    def tensor(self) -> tuple[TensorFacts, int]:
        """One row of the tensor table, and where its weights begin."""
        name = self.string(_LONGEST_TENSOR_NAME_BYTES, "a tensor name")
        dimensions = self.number(_U32)
        if not 1 <= dimensions <= _MOST_DIMENSIONS:
            raise ModelFileError(f"tensor {name!r} has {dimensions} dimensions; 1 to {_MOST_DIMENSIONS} are known")
        shape = tuple(self.number(_U64) for _ in range(dimensions))
        type_number, offset = self.number(_U32), self.number(_U64)
        if type_number not in _TENSOR_TYPES:
            raise ModelFileError(f"tensor {name!r} has the unknown type {type_number}")
        type_name, block, block_bytes = _TENSOR_TYPES[type_number]
        weights = math.prod(shape)
        if not 0 < weights < 1 << 63 or shape[0] % block:
            raise ModelFileError(f"tensor {name!r} of type {type_name} has the impossible shape {shape}")
        return TensorFacts(name=name, type=type_name, shape=shape, size_bytes=weights // block * block_bytes), offset

    def elements(self, kind: _Kind, count: int) -> list[JsonValue]:
        if kind is _Kind.STRING:
            return [self.string(_WINDOWS_BYTES[-1], "an array's text") for _ in range(count)]
        form = _NUMBERS[kind]
        return [self._finite(value) for (value,) in form.iter_unpack(self.take(count * form.size))]

    def _skip(self, kind: _Kind, count: int) -> None:
        if kind is not _Kind.STRING:
            end = self.position + count * _NUMBERS[kind].size
        else:
            # The one hot loop: 300,000 strings in 25 ms. A length past the end makes the next read fail.
            window, unpack, end = self._window, _U64.unpack_from, self.position
            try:
                for _ in range(count):
                    end += 8 + unpack(window, end)[0]
            except (struct.error, OverflowError):
                self._ends(f"an array of {count} strings")
        if end > len(self._window):
            self._ends(f"an array of {count} elements")
        self.position = end

    def _kind(self, key: str) -> _Kind:
        number = self.number(_U32)
        try:
            return _Kind(number)
        except ValueError:
            raise ModelFileError(f"metadata key {key!r} has the unknown type {number}") from None

    @staticmethod
    def _finite(value: float) -> JsonValue:
        # JSON has no NaN and no infinity, and the metadata goes out as JSON.
        return value if math.isfinite(value) else None

    def _ends(self, what: str) -> NoReturn:
        raise _WindowEnds(f"{what} at byte {self.position} runs past the end")
