"""The commands ingest and ask: documents into the RAG service, answers with citations out of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import msgspec
import typer
import uvloop
from rich.markup import escape

from partage.cli.files import OnStep, failure, send_each
from partage.cli.terminal import FAILED, Json, console, counted, errors, print_json, table_of, with_scheme
from partage.client.services import Service, file_form, service_session
from partage.config import load_config
from partage.errors import ServiceUnreachable
from partage.json_value import JsonObject
from partage.serve.services import rag_url

RagUrl = Annotated[
    str | None,
    typer.Option("--url", callback=with_scheme, help="Where the RAG service is. Default: the configured one."),
]


def register(app: typer.Typer) -> None:
    app.command("ingest")(ingest_command)
    app.command("ask")(ask_command)


def ingest_command(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", exists=True, dir_okay=False, help="Text, Markdown, PDF or pictures."),
    ],
    url: RagUrl = None,
    as_json: Json = False,
) -> None:
    """Take documents in; one that is there already with the same content changes nothing.

    Exit code 1 when a file was refused; the others are taken in all the same.
    """
    with errors():
        outcomes = uvloop.run(_ingest(url or rag_url(load_config()), files, quiet=as_json))
    if as_json:
        print_json(list(outcomes))
    for outcome in outcomes:
        if not as_json:
            console().print(_told(outcome))
    if any("error" in outcome for outcome in outcomes):
        raise typer.Exit(FAILED)


def ask_command(
    question: str,
    url: RagUrl = None,
    limit: Annotated[int, typer.Option(min=1, max=50, help="How many passages to answer from.")] = 5,
    model: Annotated[str | None, typer.Option(help="The chat model. Default: the service's.")] = None,
    as_json: Json = False,
) -> None:
    """Answer a question from the documents, with citations.

    Exit code 1 when the documents do not answer it.
    """
    with errors():
        answer = uvloop.run(_ask(url or rag_url(load_config()), {"question": question, "limit": limit, "model": model}))
    if as_json:
        print_json(answer)
    else:
        _show(answer)
    if not answer["supported"]:
        raise typer.Exit(FAILED)


async def _ingest(url: str, files: Sequence[Path], *, quiet: bool) -> list[JsonObject]:
    async with service_session(timeout_s=None) as session:  # a long document may take as long as it takes
        service = Service(session, "RAG", url)
        return await send_each(files, lambda file, on_step: _ingest_one(service, file, on_step), quiet=quiet)


async def _ingest_one(service: Service, file: Path, on_step: OnStep) -> JsonObject:
    form = file_form(file.name, await asyncio.to_thread(file.read_bytes))
    async with service.lines("POST", "/documents", form) as lines:
        async for line in lines:
            step = msgspec.json.decode(line)
            if "error" in step:
                return {"error": step["error"]["message"]}
            if "document" in step:
                return step
            on_step(step["done"], step["total"] or None)
    raise ServiceUnreachable(f"the RAG service stopped while it took {file.name} in; start it again and repeat")


def _told(outcome: JsonObject) -> str:
    if "error" in outcome:
        return failure(str(outcome["file"]), str(outcome["error"]))
    document: Any = outcome["document"]
    return (
        f"{escape(str(outcome['file']))}: {counted(document['pages'], 'page')}, {counted(document['chunks'], 'chunk')}"
        f"{'' if outcome['created'] else ', unchanged'}"
    )


async def _ask(url: str, body: JsonObject) -> JsonObject:
    async with service_session(timeout_s=None) as session:  # the service bounds every step itself
        return await Service(session, "RAG", url).send("POST", "/query", dict[str, Any], aiohttp.JsonPayload(body))


def _show(answer: JsonObject) -> None:
    console().print(str(answer["answer"]), markup=False)
    if answer["degraded"]:
        console().print(
            f"\n(the chat model is away, these are the passages alone: {answer['why_degraded']})", markup=False
        )
    table = table_of("", "DOCUMENT", "PAGE", "SPAN", "TEXT")
    citations: Any = answer["citations"]
    for citation in citations:
        start, end = citation["span"]
        text = " ".join(citation["text"].split())
        cells = (f"[{citation['number']}]", citation["document"], str(citation["page"]), f"{start}-{end}", text)
        table.add_row(*map(escape, cells))
    if citations:
        console().print("" if answer["supported"] else "\nThe closest passages:")
        console().print(table)
