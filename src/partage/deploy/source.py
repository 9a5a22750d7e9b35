"""A file that somebody else wrote: read within bounds, and every place in it as line, column and offset."""

from __future__ import annotations

import codecs
import re
from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from partage.errors import UnreadableFile

MAX_BYTES = 256 << 10
"""No compose file, .env or Dockerfile is as large; what is larger is refused before it costs anything."""

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins like UTF-16's: first
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (codecs.BOM_UTF8, "utf-8"),
)
_COMMENT = re.compile(r"(?:^|\s)#(.*)")


@dataclass(frozen=True, eq=False)
class Source:
    """A file's name and text."""

    path: str
    text: str = field(repr=False)

    @cached_property
    def lines(self) -> list[str]:
        # Not splitlines(): YAML and Docker count lines by "\n" alone, and a form feed must not shift every number.
        return self.text.split("\n")

    @cached_property
    def _starts(self) -> list[int]:
        starts = [0]
        for line in self.lines:
            starts.append(starts[-1] + len(line) + 1)
        return starts

    def line(self, number: int) -> str:
        """The text of a line, counted from 1; empty where there is none."""
        return self.lines[number - 1] if 0 < number <= len(self.lines) else ""

    def place(self, line: int, column: int, length: int = 0) -> Place:
        """Line and column counted from 1."""
        start = self._starts[line - 1] + column - 1
        return Place(self, line, column, start, start + length)

    def place_at(self, start: int, end: int) -> Place:
        """Of a range of characters."""
        line = bisect_right(self._starts, start)
        return Place(self, line, start - self._starts[line - 1] + 1, start, end)


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: line and column counted from 1, and the range of characters."""

    source: Source
    line: int
    column: int
    start: int
    end: int

    @property
    def text(self) -> str:
        return self.source.text[self.start : self.end]

    @property
    def comment(self) -> str:
        """The comment at the end of its line, and the comment lines directly above."""
        rest = self.source.text[self.end : self.end + 400].split("\n", 1)[0]
        trailing = _COMMENT.search(rest)
        words = [trailing.group(1)] if trailing else []
        above = self.line - 1
        while above > 0 and self.source.line(above).lstrip().startswith("#"):
            words.insert(0, self.source.line(above).lstrip().lstrip("#"))
            above -= 1
        return " ".join(words)

    @property
    def trailing_comment(self) -> str:
        found = _COMMENT.search(self.source.text[self.end : self.end + 400].split("\n", 1)[0])
        return found.group(1) if found else ""


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace these characters; everything around them stays as it is."""

    start: int
    end: int
    text: str


def read_source(path: Path) -> Source:
    """Raises UnreadableFile: not a regular file, too large, or in no encoding that Compose reads."""
    try:
        if not path.is_file():  # a pipe or a device would never end
            raise UnreadableFile("is not a regular file" if path.exists() else "there is no such file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UnreadableFile(f"cannot be read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise UnreadableFile(f"is larger than {MAX_BYTES >> 10} KiB: too large to be meant as what its name says")
    return Source(str(path), decode(data))


def encoding_of(data: bytes) -> tuple[bytes, str]:
    """The byte order mark, and the encoding that it announces; none and UTF-8."""
    return next(((mark, name) for mark, name in _MARKS if data.startswith(mark)), (b"", "utf-8"))


def decode(data: bytes) -> str:
    """The text after the byte order mark. Raises UnreadableFile naming the byte that fits no encoding."""
    mark, encoding = encoding_of(data)
    try:
        return data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UnreadableFile(f"is not {encoding} (byte {error.start}); save it as UTF-8", line=line) from error
