"""Files given on the command line, sent one after the other with a bar; what became of each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from partage.cli.terminal import console
from partage.errors import PartageError, ServiceUnreachable
from partage.json_value import JsonObject

OnStep: TypeAlias = Callable[[int, int | None], None]
"""So many of so many; None: nobody knows yet of how many."""


def failure(file: str, error: str) -> str:
    """One line of markup; the services begin with the file's name, which stands before it here."""
    return f"[red]{escape(file)}[/red]: {escape(error.removeprefix(f'{Path(file).name} '))}"


async def send_each(
    files: Sequence[Path], send: Callable[[Path, OnStep], Awaitable[JsonObject]], *, quiet: bool
) -> list[JsonObject]:
    """What each was answered with, beside its name; or its error. Raises ServiceUnreachable: the others would fare no better."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    outcomes: list[JsonObject] = []
    with Progress(*columns, console=console(), transient=True, disable=quiet or not console().is_terminal) as progress:
        for file in files:
            bar = progress.add_task(file.name, total=None)

            def step(done: int, total: int | None, bar: TaskID = bar) -> None:
                progress.update(bar, completed=done, total=total)

            try:
                outcome = await send(file, step)
            except ServiceUnreachable:
                raise
            except PartageError as error:
                outcome = {"error": error.message}
            outcomes.append({"file": str(file), **outcome})
            progress.remove_task(bar)
    return outcomes
