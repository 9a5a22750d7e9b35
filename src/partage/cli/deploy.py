"""The commands on deployment: lint, compose, plan, health."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Annotated, Literal

import typer

from partage.cli.terminal import FAILED, USAGE, errors, print_json
from partage.errors import ConfigError, InvalidRequest

NAMES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml", "Dockerfile", ".env")


def register(app: typer.Typer) -> None:
    app.command("lint")(lint_command)


def lint_command(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Compose files, .env files, Dockerfiles, or directories. Default: those here."),
    ] = None,
    merge: Annotated[
        list[Path] | None, typer.Option("--file", "-f", help="Merge these as `docker compose -f A -f B` does.")
    ] = None,
    explain: Annotated[str | None, typer.Option("--explain", help="Explain a rule (ALL lists them) and stop.")] = None,
    fix: Annotated[bool, typer.Option("--fix", help="Mend what can be mended safely, in place.")] = False,
    unsafe: Annotated[bool, typer.Option("--unsafe-fixes", help="With --fix: also what may change behaviour.")] = False,
    style: Annotated[
        Literal["text", "json", "sarif", "github"], typer.Option("--format", help="How findings are printed.")
    ] = "text",
    select: Annotated[str, typer.Option("--select", help="Only these codes or beginnings of codes; ALL.")] = "",
    extend: Annotated[str, typer.Option("--extend-select", help="These as well.")] = "",
    ignore: Annotated[str, typer.Option("--ignore", help="Not these.")] = "",
) -> None:
    """Find what is wrong with GPUs, memory and engines in compose files, .env files and Dockerfiles.

    Exit code 0: nothing found; 1: something found; 2: a file could not be read, or the arguments are wrong.
    """
    from partage.deploy import formats  # noqa: PLC0415 each command pays for its own imports only
    from partage.deploy.lint import Selection, lint  # noqa: PLC0415

    if explain is not None:
        _explain(explain.upper())
        return
    with errors():
        named = files or ([] if merge else [Path(name) for name in NAMES if Path(name).is_file()])
        if not named and not merge:
            raise ConfigError("no compose file here; name files or directories")
        try:
            selection = Selection(_codes(select), _codes(extend), _codes(ignore))
            report = lint(named, selection, merge=merge or (), fix=fix, unsafe=unsafe)
        except InvalidRequest as error:
            raise ConfigError(error.message) from None
    match style:
        case "text":
            print(formats.as_text(report))
        case "json":
            print_json(formats.as_json(report.findings))
        case "sarif":
            print_json(formats.as_sarif(report.findings))
        case "github":
            print(formats.as_github(report.findings))
    raise typer.Exit(USAGE if report.unreadable else FAILED if report.findings else 0)


def _codes(text: str) -> tuple[str, ...]:
    return tuple(part.strip().upper() for part in text.split(",") if part.strip())


def _explain(code: str) -> None:
    from partage.deploy.rules.all_rules import RULES  # noqa: PLC0415

    if code == "ALL":
        for rule in RULES.values():
            print(f"{rule.code} {rule.name:36} {rule.summary}{'' if rule.default else ' (off unless selected)'}")
        return
    rule = RULES.get(code)
    if rule is None:
        typer.echo(f"partage: there is no rule {code}; `partage lint --explain ALL` lists them", err=True)
        raise typer.Exit(USAGE)
    fixable = "yes, with --fix" if rule.fixable else "by hand"
    print(f"{rule.code} {rule.name} ({rule.level})\n\n{rule.explanation}\n\nCure: {rule.cure}\nMended: {fixable}")
    print(textwrap.fill(f"Source: {rule.source}", 120, subsequent_indent="  "))
