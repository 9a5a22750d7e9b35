"""What every command needs of the terminal: a console, JSON for programs, and errors as one line and an exit code."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Generator
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeAlias

import typer

from partage.errors import ConfigError, PartageError
from partage.json_value import JsonValue

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def with_scheme(url: str | None) -> str | None:
    """For `--url localhost:11434`, as OLLAMA_HOST takes it."""
    return url if not url or "://" in url else f"http://{url}"


Url: TypeAlias = Annotated[
    str | None,
    typer.Option("--url", callback=with_scheme, help="Where the hub is. Default: the configured one."),
]

FAILED, USAGE = 1, 2


def console() -> Console:
    """As wide as the terminal; wide enough for every table when the output goes into a pipe."""
    from rich.console import Console  # noqa: PLC0415 what prints no table need not wait for it

    return Console(highlight=False, width=None if sys.stdout.isatty() else 200)


def table_of(*headers: str) -> Table:
    """One look for every command. What is too wide for the terminal is folded, never cut; the first column goes last."""
    from rich.table import Table  # noqa: PLC0415 as in console

    table = Table(box=None, pad_edge=False)
    for number, header in enumerate(headers):
        table.add_column(header, overflow="fold", no_wrap=number == 0)
    return table


def counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def print_json(value: JsonValue) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


@contextlib.contextmanager
def errors() -> Generator[None]:
    """Our errors as one line on stderr: exit code 1, or 2 when the configuration or the arguments are wrong."""
    try:
        yield
    except PartageError as error:
        _leave(error)
    except BaseExceptionGroup as group:  # out of a task group
        ours, others = group.split(PartageError)
        if ours is None or others is not None:
            raise
        _leave(_first(ours))
    except KeyboardInterrupt:
        raise typer.Exit(128 + signal.SIGINT) from None
    except BrokenPipeError:
        # The reader left (| head). Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(128 + signal.SIGPIPE) from None


def _leave(error: BaseException) -> NoReturn:
    print(f"partage: {error}", file=sys.stderr)
    raise typer.Exit(USAGE if isinstance(error, ConfigError) else FAILED) from None


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
