"""Appends every event and action as JSON lines: what happened, and the simulator's input. Two files, bounded."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from partage.journal_format import actions_line, event_line, settings_line
from partage.policy.actions import Action
from partage.policy.events import Event
from partage.policy.settings import PolicySettings

log = logging.getLogger(__name__)

FLUSH_EVERY_S = 1.0


class Journal:
    """`with Journal(path, limit_bytes) as journal: journal.write(...)`.

    At half the limit the file is renamed to `<path>.1` and a new one begun, so both together stay below the limit.
    A disk that is full or gone ends the journal, not the hub.
    """

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self.path = path
        self._limit_bytes = max(limit_bytes // 2, 1)
        self._file: BinaryIO | None = None
        self._size_bytes = 0
        self._flushed_s = 0.0

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab")
            self._size_bytes = self._file.tell()
        except OSError as error:
            self._give_up(error)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            try:
                self._file.close()
            except OSError as full:
                self._give_up(full)

    def begin(self, at_s: float, settings: PolicySettings) -> None:
        """A hub starts."""
        self._append(at_s, settings_line(settings, at_s))

    def write(self, at_s: float, event: Event, actions: Sequence[Action]) -> None:
        """Every event, also those that led to nothing: what is left out is missing when the journal is played again."""
        line = event_line(event, at_s)
        if actions:
            line += actions_line(actions, at_s)
        self._append(at_s, line)

    def _append(self, at_s: float, line: bytes) -> None:
        if self._file is None:
            return
        try:
            self._file.write(line)
            self._size_bytes += len(line)
            if self._size_bytes >= self._limit_bytes:
                self._rotate()
            elif at_s - self._flushed_s >= FLUSH_EVERY_S:
                self._file.flush()
                self._flushed_s = at_s
        except OSError as error:
            self._give_up(error)

    def _rotate(self) -> None:
        if self._file is not None:
            self._file.close()
        self.path.replace(self.path.with_name(self.path.name + ".1"))
        self._file = self.path.open("ab")
        self._size_bytes = 0

    def _give_up(self, error: OSError) -> None:
        log.warning("no journal from now on: %s", error)
        if self._file is not None:
            with contextlib.suppress(OSError):  # what it still holds cannot be written either
                self._file.close()
        self._file = None
