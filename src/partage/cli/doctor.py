"""The command `partage doctor`: what is wrong with this machine, why it matters, and the command that mends it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from partage.cli.terminal import FAILED, Json, Url, console, errors, print_json
from partage.client.hub_client import HubClient
from partage.config import Config, load_config
from partage.doctor.bundle import write_bundle
from partage.doctor.examine import CHECKS, examine
from partage.doctor.finding import Diagnosis, exit_code
from partage.doctor.gather import gather
from partage.doctor.machine import Machine
from partage.doctor.redact import secrets_of
from partage.errors import PartageError
from partage.json_value import JsonObject, JsonValue
from partage.serve.services import hub_url

COLOURS = {"error": "red", "warning": "yellow", "hint": "cyan"}
Bundle = Annotated[Path | None, typer.Option("--bundle", help="Write a support archive (.tar.gz) without secrets.")]


def register(app: typer.Typer) -> None:
    app.command("doctor")(doctor_command)


def doctor_command(url: Url = None, as_json: Json = False, bundle: Bundle = None) -> None:
    """Find what is wrong with GPU, driver, containers, memory, disk and settings, and say what mends it.

    Exit code: 0 nothing, or hints; 1 warnings; 2 errors.
    """
    with errors():
        config = load_config()
        hub = asyncio.run(_hub_says(config, url))
        machine = asyncio.run(
            gather(
                config,
                os.environ,  # noqa: TID251 a command's own; only CUDA_, NVIDIA_ and OLLAMA_ are looked at
                status=hub.get("status"),
                alerts=hub.get("alerts"),
                hub_version=str(hub.get("machine", {}).get("version", "")),
            )
        )
        diagnoses = examine(machine)
        report: JsonObject = {
            "checks": [check.name for check in CHECKS],
            "findings": [one.to_json() for one in diagnoses],
        }
        if bundle is not None:
            _write(bundle, config, {"doctor": report, **hub}, machine)
        if as_json:
            print_json(report)
        else:
            _print(diagnoses, hub_runs="status" in hub)
    raise typer.Exit(exit_code(diagnoses))


async def _hub_says(config: Config, url: str | None) -> dict[str, JsonObject]:
    """Its status, alerts and machine, by name; what it does not answer, or not to us, is missing."""
    admin = config.clients.get("admin")
    said: dict[str, JsonObject] = {}
    with contextlib.suppress(PartageError):
        async with HubClient(
            url or hub_url(config), api_key=admin.key if admin else None, timeout_s=5.0, retry=False
        ) as hub:
            said["status"] = await hub.status()
            said["alerts"] = await hub.alerts()
            said["machine"] = await hub.machine()
    return said


def _print(diagnoses: list[Diagnosis], *, hub_runs: bool) -> None:
    out = console()
    for one in diagnoses:
        finding = one.finding
        out.print(Text(f"{finding.severity}: {finding.found}", style=COLOURS[finding.severity]))
        for label, words in (
            ("looked at", f"{finding.looked_at}  ({one.check})"),
            ("matters", finding.why),
            ("mend", finding.mend),
        ):
            out.print(Text(f"  {label:10}{words}"), soft_wrap=True)
    found = f"{len(diagnoses)} finding{'s' * (len(diagnoses) != 1)}" if diagnoses else "nothing is wrong"
    out.print(
        f"{len(CHECKS)} checks, {found}" + ("" if hub_runs else "; no hub is running, so its alerts were not asked")
    )


def _write(bundle: Path, config: Config, answers: dict[str, JsonObject], machine: Machine) -> None:
    secrets = secrets_of(config)
    config_file = next((path for path in (Path("partage.yaml"), config.home / "partage.yaml") if path.is_file()), None)
    documents: dict[str, JsonValue] = {f"{name}.json": answer for name, answer in answers.items()}
    documents["facts.txt"] = repr(machine)
    try:
        names = write_bundle(bundle, home=config.home, config_file=config_file, documents=documents, secrets=secrets)
    except OSError as error:
        typer.echo(f"partage: {bundle} cannot be written: {error.strerror}", err=True)
        raise typer.Exit(FAILED) from None
    typer.echo(f"wrote {bundle}: {', '.join(names)}; look at it before you send it", err=True)
