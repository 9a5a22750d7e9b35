"""What a hub has learned, kept in one small JSON file over restarts; where that cannot be read or written, all is learned anew."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

log = logging.getLogger(__name__)

T = TypeVar("T")


class Kept(Generic[T]):
    def __init__(self, path: Path, kind: type[T], what: str) -> None:
        """`what` was learned, in the words of the log: "loads"."""
        self._path, self._kind, self._what = path, kind, what

    def read(self) -> T | None:
        """None: nothing was kept, or it cannot be read."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=self._kind)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:  # also UnicodeDecodeError, which is no MsgspecError
            log.warning("what was learned of %s cannot be read and is learned anew: %s", self._what, error)
            return None

    def write(self, learned: T) -> None:
        """Whole or not at all: a hub that is killed here leaves the old file."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            new = self._path.with_suffix(".new")
            new.write_bytes(msgspec.json.encode(learned))
            new.replace(self._path)
        except OSError as error:
            log.warning("what was learned of %s is not kept: %s", self._what, error)
