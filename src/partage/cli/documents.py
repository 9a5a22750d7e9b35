"""The command process: documents through the document service, fields with their evidence out of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
import uvloop
from rich.markup import escape

from partage.cli.files import OnStep, failure, send_each
from partage.cli.terminal import FAILED, Json, console, errors, print_json, table_of, with_scheme
from partage.client.services import Service, file_form, service_session
from partage.config import load_config
from partage.errors import EngineTimedOut, InvalidRequest, PartageError
from partage.json_value import JsonObject
from partage.serve.services import documents_url


def register(app: typer.Typer) -> None:
    app.command("process")(process_command)


def process_command(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", exists=True, dir_okay=False, help="PDF, PNG, JPEG, TIFF or WebP.")
    ],
    schema: Annotated[
        str | None, typer.Option(help="rma, invoice, receipt, or a file with a JSON Schema. Default: text only.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Vision model for scanned pages. Default: the service's.")] = None,
    url: Annotated[
        str | None,
        typer.Option("--url", callback=with_scheme, help="Where the document service is. Default: the configured one."),
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for each file.")] = 120.0,
    as_json: Json = False,
) -> None:
    """Read documents: their pages' text and, with a schema, fields with page and confidence.

    Exit code 1 when a file could not be read; the others are read all the same.
    """
    with errors():
        fields = {"schema": _schema(schema), "model": model}
        form = {name: value for name, value in fields.items() if value}
        outcomes = uvloop.run(_process(url or documents_url(load_config()), files, form, timeout, quiet=as_json))
    if as_json:
        print_json(list(outcomes))
    else:
        for outcome in outcomes:
            _show(outcome)
    if any("error" in outcome for outcome in outcomes):
        raise typer.Exit(FAILED)


def _schema(given: str | None) -> str | None:
    """A built-in name as it is, a file's content otherwise."""
    if given is None or not Path(given).is_file():
        return given
    try:
        return Path(given).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"the schema file {given} cannot be read: {error}") from error


async def _process(
    url: str, files: Sequence[Path], form: dict[str, str], timeout_s: float, *, quiet: bool
) -> list[JsonObject]:
    async with service_session(timeout_s=None) as session:
        service = Service(session, "document", url)
        return await send_each(files, lambda file, on_step: _one(service, file, form, timeout_s, on_step), quiet=quiet)


async def _one(service: Service, file: Path, form: dict[str, str], timeout_s: float, on_step: OnStep) -> JsonObject:
    content = await asyncio.to_thread(file.read_bytes)
    job = await service.send("POST", "/jobs", dict[str, Any], file_form(file.name, content, form))
    path = f"/jobs/{job['id']}"
    try:
        async with asyncio.timeout(timeout_s), service.lines("GET", f"{path}/events") as events:
            async for line in events:
                if line.startswith(b"data: "):
                    event = msgspec.json.decode(line[6:])
                    on_step(event.get("done", 0), event.get("pages"))
    except TimeoutError:
        late = f"{file.name} is not finished after {timeout_s:g} s; the work goes on: {service.url}{path} has it"
        raise EngineTimedOut(late) from None
    except (asyncio.CancelledError, KeyboardInterrupt):
        with suppress(PartageError):  # nobody waits for it any more
            await service.send("DELETE", path, msgspec.Raw)
        raise
    job = await service.send("GET", path, dict[str, Any])
    if job["result"] is None:
        return {"error": job["error"]["message"] if job["error"] else f"the job was {job['state']}"}
    return job["result"]


def _show(outcome: Any) -> None:  # noqa: ANN401 - as the service sent it
    if "error" in outcome:
        console().print(failure(outcome["file"], outcome["error"]))
        return
    pages = outcome["pages"]
    how = ", ".join(f"{page['number']}: {page['method'].replace('_', ' ')}" for page in pages)
    console().print(f"[bold]{escape(outcome['file'])}[/bold]  {outcome['seconds']:.1f} s  (pages {how})")
    if not outcome["fields"]:
        for page in pages:
            console().print(escape(page["text"]))
        return
    table = table_of("FIELD", "VALUE", "PAGE", "CONFIDENCE")
    for name, field in outcome["fields"].items():
        if field["value"] is None:
            table.add_row(name, f"[dim]{escape(field['reason'])}[/dim]", "", "")
        else:
            table.add_row(name, escape(str(field["value"])), str(field["page"]), f"{field['confidence']:.2f}")
    console().print(table)
