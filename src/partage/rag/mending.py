"""An index that cannot be read when the service starts: put aside whole, and made anew from the rows that can still be read.

Nothing of it is ever deleted here. What was found is written beside what was put aside, and told until somebody removes that.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import lancedb

from partage.errors import StoreError

log = logging.getLogger(__name__)

Rows: TypeAlias = Any  # pyarrow ships no types

ASIDE = "damaged-"
NOTE = "what-is-this.txt"
LIBRARY_ERRORS = (RuntimeError, ValueError, OSError)
"""Of lancedb, for everything that can be wrong with a file."""
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_MISSING = "2"


async def readable(table: lancedb.AsyncTable) -> None:
    """Touches every file of data and of indices. Raises LIBRARY_ERRORS."""
    await table.query().select(["id"]).to_arrow()
    for index in await table.list_indices():
        await table.query().nearest_to_text("a", columns=index.columns).limit(1).to_list()


async def rows_left(database: lancedb.AsyncConnection, name: str) -> Rows | None:
    """All rows, with their schema; None: not all of them can be read."""
    try:
        return await (await database.open_table(name)).query().to_arrow()
    except LIBRARY_ERRORS:
        return None


def check_damage(error: Exception, directory: Path) -> None:
    """Raises StoreError where the files may be sound, and it is the disk or a right that is missing."""
    said = _OS_ERROR.search(str(error))
    if said is not None and said[1] != _MISSING:
        raise StoreError(f"the index in {directory} cannot be read: {error}") from error


def put_aside(directory: Path, file: Path, error: Exception, *, rows: int | None, now: datetime) -> None:
    """Move the index out of the way, with a note."""
    aside = directory / f"{ASIDE}{now:%Y%m%d-%H%M%S}"
    what = str(error).split(", /")[0].split("\n")[0]  # the rest are places in the library's source
    then = (
        "all its rows could be read and are in the new index"
        if rows is not None
        else "its documents must be ingested again"
    )
    aside.mkdir()
    (aside / NOTE).write_text(
        f"the index was damaged ({what}) and is kept in {aside}; {then}. Remove that directory when it is not needed any more\n",
        encoding="utf-8",
    )
    file.rename(aside / file.name)
    log.error("%s", _note(aside))


def problems(directory: Path) -> Sequence[str]:
    """What was put aside and is still there."""
    return [_note(aside) for aside in sorted(directory.glob(f"{ASIDE}*"))]


def _note(aside: Path) -> str:
    try:
        return (aside / NOTE).read_text(encoding="utf-8").strip()
    except OSError:
        return f"a damaged index is kept in {aside}; its documents may have to be ingested again"
