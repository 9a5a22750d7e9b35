"""The command `partage`: one file per group of commands, each registered here."""

from __future__ import annotations

import importlib
import sys

import typer

from partage import __version__

GROUPS = ("services", "demo", "models", "engines", "documents", "rag", "simulate")


def _print_version(value: bool) -> None:
    if value:
        print(f"partage {__version__}")
        raise typer.Exit


def build() -> typer.Typer:
    app = typer.Typer(
        name="partage",
        help="Let many AI services share one or a few GPUs.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )

    @app.callback()
    def options(  # pyright: ignore[reportUnusedFunction] registered by the decorator
        version: bool = typer.Option(
            False, "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ) -> None:
        pass

    for group in GROUPS:
        module = importlib.import_module(f"partage.cli.{group}")
        module.register(app)
    return app


def run() -> None:
    """The console script."""
    build()(args=sys.argv[1:])
