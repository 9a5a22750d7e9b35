"""Receives one document as multipart/form-data straight onto the disk; refuses it in mid-stream when it grows too large."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePath
from types import TracebackType
from typing import BinaryIO, Self

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect, Request

from partage.documents.settings import MIB
from partage.documents.sniff import HEAD_BYTES
from partage.errors import InvalidRequest, TooLarge

LARGEST_FIELD_BYTES = 128 * 1024
MOST_PARTS = 16


@dataclass(slots=True)
class Upload:
    """What came in: the file's bytes are at `path`, only its head is in memory."""

    path: Path
    name: str = ""
    media_type: str = ""
    head: bytes = b""
    size_bytes: int = 0
    fields: dict[str, str] = field(default_factory=dict[str, str])


async def receive(request: Request, path: Path, limit_bytes: int) -> Upload:
    """Raises InvalidRequest, TooLarge; the file is gone then."""
    content_type, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if content_type != b"multipart/form-data" or boundary is None:
        raise InvalidRequest("send the document as multipart/form-data in the field 'file'")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit_bytes + LARGEST_FIELD_BYTES:
        raise _too_large(limit_bytes)
    kept = False
    try:
        with _Parts(path, limit_bytes) as parts:
            parser = parts.parser(boundary)
            async for chunk in request.stream():
                parser.write(chunk)
            parser.finalize()
        if not parts.seen_file:
            raise InvalidRequest("the field 'file' is missing: send the document in it")
        kept = True
    except FormParserError as error:
        raise InvalidRequest(f"the form is not valid multipart/form-data: {error}") from error
    except ClientDisconnect as error:
        raise InvalidRequest("the upload broke off") from error
    finally:
        if not kept:
            path.unlink(missing_ok=True)  # noqa: ASYNC240 a local file, once
    return parts.upload


class _Parts:
    """Takes the parser's pieces: the part named `file` goes to disk, the others into the form's fields."""

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self.upload = Upload(path)
        self.seen_file = False
        self._limit_bytes = limit_bytes
        self._out: BinaryIO | None = None
        self._header = (b"", b"")
        self._headers: dict[bytes, bytes] = {}
        self._field = ""
        self._value = bytearray()
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._out is not None:
            self._out.close()

    def parser(self, boundary: bytes) -> MultipartParser:
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self._head(data[start:end], b""),
                "on_header_value": lambda data, start, end: self._head(b"", data[start:end]),
                "on_header_end": self._head_end,
                "on_headers_finished": self._heads_end,
                "on_part_data": self._data,
                "on_part_end": self._end,
            },
        )

    def _begin(self) -> None:
        self._count += 1
        if self._count > MOST_PARTS:
            raise InvalidRequest(f"the form has more than {MOST_PARTS} parts")
        self._headers = {}
        self._value.clear()

    def _head(self, name: bytes, value: bytes) -> None:
        self._header = (self._header[0] + name, self._header[1] + value)

    def _head_end(self) -> None:
        name, value = self._header
        self._headers[name.lower()] = value
        self._header = (b"", b"")

    def _heads_end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._field = options.get(b"name", b"").decode(errors="replace")
        if self._field == "file":
            if self.seen_file:
                raise InvalidRequest("one document at a time: the form has more than one 'file'")
            self.seen_file = True
            # Browsers and scripts on Windows may send whole paths.
            name = options.get(b"filename", b"").decode(errors="replace").replace("\\", "/")
            self.upload.name = PurePath(name).name[:200]
            self.upload.media_type = self._headers.get(b"content-type", b"").decode("latin-1")
            self._out = self.upload.path.open("wb")

    def _data(self, data: bytes, start: int, end: int) -> None:
        piece = data[start:end]
        if self._out is None:
            self._value += piece
            if len(self._value) > LARGEST_FIELD_BYTES:
                raise TooLarge(f"the field '{self._field[:40]}' is larger than {LARGEST_FIELD_BYTES // 1024} KiB")
            return
        self.upload.size_bytes += len(piece)
        if self.upload.size_bytes > self._limit_bytes:
            raise _too_large(self._limit_bytes)
        if len(self.upload.head) < HEAD_BYTES:
            self.upload.head = (self.upload.head + piece)[:HEAD_BYTES]
        self._out.write(piece)

    def _end(self) -> None:
        if self._out is not None:
            self._out.close()
            self._out = None
        else:
            self.upload.fields[self._field] = self._value.decode(errors="replace")


def _too_large(limit_bytes: int) -> TooLarge:
    return TooLarge(
        f"the document is larger than the {limit_bytes / MIB:g} MiB that are taken here; split it or scale it down"
    )
