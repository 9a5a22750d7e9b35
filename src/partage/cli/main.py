"""The command `partage`: one file per group of commands, imported when one of its commands is called."""

from __future__ import annotations

import importlib
import signal
import sys
from typing import TYPE_CHECKING

from partage import __version__

if TYPE_CHECKING:
    import typer

GROUPS = {
    "services": ("up", "hub", "documents", "rag"),
    "dashboard": ("dashboard",),
    "demo": ("demo",),
    "library": ("pull", "push", "create", "cp"),
    "models": ("ls", "show", "rm"),
    "engines": ("ps", "load", "unload", "pause", "resume"),
    "run": ("run",),
    "top": ("top",),
    "doctor": ("doctor",),
    "builds": ("engine",),
    "documents": ("process",),
    "rag": ("ingest", "ask"),
    "simulate": ("simulate",),
    "deploy": ("lint", "compose", "plan", "health"),
}
"""Module in this room -> its commands. `partage lint` must not pay for what `partage rag` imports."""


ELSEWHERE = {
    "serve": "partage up (hub, documents, rag, dashboard), or partage hub alone",
    "list": "partage ls",
    "stop": "partage unload MODEL",
    "chat": "any client of Ollama's or OpenAI's API (README.md), or the page that partage dashboard serves",
    "help": "partage --help",
    "version": "partage --version",
}
"""What people who know Ollama type first -> what it is called here. (`run` is the leases'; it says so itself.)"""


def build(called: str = "") -> typer.Typer:
    """The application with the group of the called command, or with all of them (for --help)."""
    import typer  # noqa: PLC0415 `partage lint` does without

    app = typer.Typer(
        name="partage",
        help="Let many AI services share one or a few GPUs.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )

    @app.callback()
    def options(
        version: bool = typer.Option(
            False, "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ) -> None:
        pass

    wanted = [group for group, commands in GROUPS.items() if called in commands] or list(GROUPS)
    for group in wanted:
        importlib.import_module(f"partage.cli.{group}").register(app)
    return app


def _print_version(value: bool) -> None:
    if value:
        import typer  # noqa: PLC0415 as in build

        print(f"partage {__version__}")
        raise typer.Exit


def run() -> None:
    """The console script."""
    try:
        _run()
    except KeyboardInterrupt:  # while the command was still being imported; it catches its own
        sys.exit(128 + signal.SIGINT)


def _run() -> None:
    if sys.argv[1:2] == ["lint"]:
        from partage.cli import lint  # noqa: PLC0415 without typer, which alone takes longer than linting

        sys.exit(lint.main(sys.argv[2:]))
    if (called := "".join(sys.argv[1:2])) in ELSEWHERE:
        print(f"partage: there is no command {called} here: {ELSEWHERE[called]}", file=sys.stderr)
        sys.exit(2)
    build(sys.argv[1] if len(sys.argv) > 1 else "")(args=sys.argv[1:], prog_name="partage")
