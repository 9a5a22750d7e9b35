"""Where services keep what is theirs; and one hub per home: two would promise the same memory, write into one journal and learn over each other."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from partage.errors import ConfigError

LOCK = "hub.lock"


def writable(directory: Path, service: str) -> Path:
    """The directory, made where it is missing. Raises ConfigError: nobody can write there."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            return directory
    except OSError as error:
        raise _cannot_write(service, directory, error) from None


def _cannot_write(service: str, where: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"{service}: cannot write in {where}: {error.strerror}; set PARTAGE_HOME to a directory of yours"
    )


@contextmanager
def owned(home: Path, url: str) -> Generator[None]:
    """The home is this hub's while inside, however it ends. Raises ConfigError: another hub's, or nobody can write there."""
    try:
        file = (writable(home, "hub") / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise _cannot_write("hub", home / LOCK, error) from None
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
