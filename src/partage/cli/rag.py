"""The commands ingest and ask: documents into the RAG service, answers with citations out of it."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import msgspec
import typer
import uvloop
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from partage.cli.terminal import FAILED, Json, console, errors, print_json
from partage.client.problems import error_of
from partage.config import load_config
from partage.domain import JsonObject
from partage.errors import EngineTimedOut, PartageError, ServiceUnreachable

LINES = "application/x-ndjson"
RagUrl = Annotated[str | None, typer.Option("--url", help="Where the RAG service is. Default: the configured one.")]


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
        outcomes = uvloop.run(_ingest(url or _configured_url(), files, quiet=as_json))
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
        answer = uvloop.run(_ask(url or _configured_url(), {"question": question, "limit": limit, "model": model}))
    if as_json:
        print_json(answer)
    else:
        _show(answer)
    if not answer["supported"]:
        raise typer.Exit(FAILED)


def _configured_url() -> str:
    rag = load_config().rag
    return f"http://{'127.0.0.1' if rag.host == '0.0.0.0' else rag.host}:{rag.port}"  # noqa: S104 compared, not bound


# ---- ingest ----------------------------------------------------------------------------------------------------


async def _ingest(url: str, files: Sequence[Path], *, quiet: bool) -> list[JsonObject]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    outcomes: list[JsonObject] = []
    async with _session() as session:
        with Progress(*columns, console=console(), transient=True, disable=quiet) as progress:
            for file in files:
                bar = progress.add_task(file.name, total=None)
                try:
                    outcomes.append(await _ingest_one(session, url, file, progress, bar))
                except ServiceUnreachable:
                    raise
                except PartageError as error:
                    outcomes.append({"file": str(file), "error": error.message})
                progress.remove_task(bar)
    return outcomes


async def _ingest_one(
    session: aiohttp.ClientSession, url: str, file: Path, progress: Progress, bar: TaskID
) -> JsonObject:
    form = aiohttp.FormData()
    form.add_field("file", io.BytesIO(await asyncio.to_thread(file.read_bytes)), filename=file.name)
    async with _sent(session, url, "/documents", form) as reply:
        async for line in reply.content:
            step = msgspec.json.decode(line)
            if "error" in step:
                return {"file": str(file), "error": step["error"]["message"]}
            if "document" in step:
                return {"file": str(file), **step}
            progress.update(bar, completed=step["done"], total=step["total"] or None)
    raise ServiceUnreachable(f"the RAG service stopped while it took {file.name} in; start it again and repeat")


def _told(outcome: JsonObject) -> str:
    if "error" in outcome:
        return f"[red]{escape(str(outcome['file']))}[/red]: {escape(str(outcome['error']))}"
    document: Any = outcome["document"]
    return (
        f"{escape(str(outcome['file']))}: {document['pages']} pages, {document['chunks']} chunks"
        f"{'' if outcome['created'] else ', unchanged'}"
    )


# ---- ask -------------------------------------------------------------------------------------------------------


async def _ask(url: str, body: JsonObject) -> JsonObject:
    async with _session() as session, _sent(session, url, "/query", aiohttp.JsonPayload(body)) as reply:
        return msgspec.json.decode(await reply.read())


def _show(answer: JsonObject) -> None:
    console().print(str(answer["answer"]), markup=False)
    if answer["degraded"]:
        console().print(
            f"\n(the chat model is away, these are the passages alone: {answer['why_degraded']})", markup=False
        )
    table = Table("", "DOCUMENT", "PAGE", "SPAN", "TEXT", box=None, pad_edge=False)
    citations: Any = answer["citations"]
    for citation in citations:
        start, end = citation["span"]
        text = " ".join(citation["text"].split())
        cells = (f"[{citation['number']}]", citation["document"], str(citation["page"]), f"{start}-{end}", text)
        table.add_row(*map(escape, cells))
    if citations:
        console().print()
        console().print(table)


# ---- the service -----------------------------------------------------------------------------------------------


@asynccontextmanager
async def _session() -> AsyncGenerator[aiohttp.ClientSession]:
    # The service bounds every step itself; a long document may take as long as it takes.
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        yield session


@asynccontextmanager
async def _sent(
    session: aiohttp.ClientSession, url: str, path: str, body: aiohttp.FormData | aiohttp.JsonPayload
) -> AsyncGenerator[aiohttp.ClientResponse]:
    try:
        async with session.post(
            url.rstrip("/") + path, data=body, headers={"Accept": f"{LINES}, application/json"}
        ) as reply:
            if reply.status >= 400:
                raise error_of(reply.status, reply.headers, await reply.read())
            yield reply
    except TimeoutError as error:
        raise EngineTimedOut(f"the RAG service at {url} did not answer in time") from error
    except aiohttp.ClientError as error:
        raise ServiceUnreachable(f"no RAG service answers at {url}: start it with `partage up`") from error
