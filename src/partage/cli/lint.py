"""The command `partage lint`, with argparse: a hook that runs at every commit must not wait for typer to be imported."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from partage.deploy.rules.all_rules import RULES
from partage.errors import ConfigError, InvalidRequest

if TYPE_CHECKING:
    from partage.deploy.lint import Report

NAMES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml", "Dockerfile", ".env")
SUMMARY = "Find what is wrong with GPUs, memory and engines in compose files, .env files and Dockerfiles."
FAILED, USAGE = 1, 2


def main(arguments: Sequence[str]) -> int:
    """Run the command; its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return _explain(options.explain.upper()) if options.explain is not None else _lint(options)
    except ConfigError as error:
        print(f"partage: {error}", file=sys.stderr)
        return USAGE
    except BrokenPipeError:
        # The reader left (| head). Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="partage lint",
        description=SUMMARY,
        epilog="Exit code 0: nothing found; 1: something found; 2: a file could not be read, or the arguments are wrong.",
    )
    add = parser.add_argument
    add(
        "files",
        nargs="*",
        type=Path,
        help="Compose files, .env files, Dockerfiles, or directories. Default: those here.",
    )
    add(
        "-f", "--file", dest="merge", action="append", default=[], type=Path, metavar="FILE",
        help="Merge these as `docker compose -f A -f B` does.",
    )  # fmt: skip
    add("--explain", metavar="CODE", help="Explain a rule (ALL lists them) and stop.")
    add("--fix", action="store_true", help="Mend what can be mended safely, in place.")
    add("--unsafe-fixes", action="store_true", help="With --fix: also what may change behaviour.")
    add("--format", choices=("text", "json", "sarif", "github"), default="text", help="How findings are printed.")
    add("--json", dest="format", action="store_const", const="json", help="As --format json.")
    for option, words in (
        ("--select", "Only these codes or beginnings of codes; ALL."),
        ("--extend-select", "These as well."),
        ("--ignore", "Not these."),
    ):
        add(option, type=_codes, default=(), metavar="CODES", help=words)
    return parser


def _lint(options: argparse.Namespace) -> int:
    from partage.deploy.lint import Selection, lint  # noqa: PLC0415 --explain reads no YAML

    named = options.files or ([] if options.merge else [Path(name) for name in NAMES if Path(name).is_file()])
    if not named and not options.merge:
        raise ConfigError("no compose file here; name files or directories")
    try:
        selection = Selection(options.select, options.extend_select, options.ignore)
        report = lint(named, selection, merge=options.merge, fix=options.fix, unsafe=options.unsafe_fixes)
    except InvalidRequest as error:
        raise ConfigError(error.message) from None
    print(_in_format(report, options.format))
    return USAGE if report.unreadable else FAILED if report.findings else 0


def _in_format(report: Report, style: str) -> str:
    from partage.deploy import formats  # noqa: PLC0415 as above

    match style:
        case "json":
            return json.dumps(formats.as_json(report.findings), indent=2, ensure_ascii=False)
        case "sarif":
            return json.dumps(formats.as_sarif(report.findings), indent=2, ensure_ascii=False)
        case "github":
            return formats.as_github(report.findings)
        case _:
            return formats.as_text(report)


def _codes(text: str) -> tuple[str, ...]:
    return tuple(part.strip().upper() for part in text.split(",") if part.strip())


def _explain(code: str) -> int:
    if code == "ALL":
        for rule in RULES.values():
            print(f"{rule.code} {rule.name:36} {rule.summary}{'' if rule.default else ' (off unless selected)'}")
        return 0
    rule = RULES.get(code)
    if rule is None:
        raise ConfigError(f"there is no rule {code}; `partage lint --explain ALL` lists them")
    fixable = f"with {rule.mended_by}" if rule.fixable else "by hand"
    print(f"{rule.code} {rule.name} ({rule.level})\n\n{rule.explanation}\n\nCure: {rule.cure}\nMended: {fixable}")
    print(textwrap.fill(f"Source: {rule.source}", 120, subsequent_indent="  "))
    return 0
