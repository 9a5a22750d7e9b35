"""One hub per home: two would promise the same memory, write into one journal and learn over each other."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from partage.errors import ConfigError

LOCK = "hub.lock"


@contextmanager
def owned(home: Path, url: str) -> Generator[None]:
    """The home is this hub's while inside, however it ends. Raises ConfigError: another hub's, or nobody can write there."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        file = (home / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        words = f"hub: cannot write in {home}: {error.strerror}; set PARTAGE_HOME to a directory of yours"
        raise ConfigError(words) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            owner = file.read(200).strip()
            raise ConfigError(
                f"hub: another hub uses {home}{f' ({owner})' if owner else ''}; stop it, or set PARTAGE_HOME to another directory"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} at {url}\n")
        file.flush()
        yield
