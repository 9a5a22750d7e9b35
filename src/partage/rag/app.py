"""The RAG service's HTTP API: documents in; passages, and answers with citations, out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, TypeAlias

import msgspec
from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel

from partage import __version__
from partage.client.hub_client import HubClient
from partage.clock import SystemClock
from partage.errors import NotFound, PartageError
from partage.rag.answer import Answer, Answers, Piece
from partage.rag.body import DOCUMENT_BODY, BodyLimit, document_of
from partage.rag.ingest import Ingest, Ingested, Progress
from partage.rag.read import DocumentService
from partage.rag.search import Search
from partage.rag.settings import RagSettings
from partage.rag.store import Store
from partage.rag.wire import (
    DocumentDetail,
    DocumentInfo,
    DocumentList,
    HealthInfo,
    HitInfo,
    IngestedInfo,
    PageText,
    ProgressInfo,
    QueryAnswer,
    QueryBody,
    SearchAnswer,
    SearchBody,
)
from partage.service_problems import answer_errors_in_one_shape, problem_of

LINES = "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class Service:
    settings: RagSettings
    store: Store
    ingest: Ingest
    search: Search
    answers: Answers


def service_of(request: Request) -> Service:
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


Here: TypeAlias = Annotated[Service, Depends(service_of)]


def create_app(settings: RagSettings) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            hub = HubClient(settings.hub_url, api_key=settings.api_key, timeout_s=settings.query_timeout_s)
            await stack.enter_async_context(hub)
            reader = DocumentService(settings.documents_url, timeout_s=settings.documents_timeout_s)
            stack.push_async_callback(reader.close)
            store = await Store.open(settings.data_dir)
            stack.callback(store.close)
            search = Search(hub, store, settings)
            app.state.service = Service(
                settings=settings,
                store=store,
                ingest=Ingest(hub, store, reader, settings),
                search=search,
                answers=Answers(hub, search, settings, SystemClock()),
            )
            yield

    app = FastAPI(title="Partage RAG", version=__version__, lifespan=lifespan)
    app.add_middleware(BodyLimit, max_bytes=settings.max_file_bytes)
    answer_errors_in_one_shape(app)
    app.get("/healthz")(health)
    app.post("/documents", status_code=201, response_model=IngestedInfo, openapi_extra=DOCUMENT_BODY)(add_document)
    app.get("/documents")(list_documents)
    app.get("/documents/{document_id}")(get_document)
    app.delete("/documents/{document_id}", status_code=204)(delete_document)
    app.post("/search")(search_passages)
    app.post("/query", response_model=QueryAnswer)(query)
    return app


async def health(here: Here) -> HealthInfo:
    """200 as long as the service can serve; `problems` is what somebody should look after."""
    problems = list(await asyncio.to_thread(here.store.problems))
    return HealthInfo(status="degraded" if problems else "ok", problems=problems)


async def add_document(request: Request, here: Here) -> Response:
    """Take a document in: JSON {name, text}, or a multipart `file` (text, Markdown, PDF, PNG, JPEG, TIFF, WebP).

    With `Accept: application/x-ndjson` the answer is JSON lines with the progress, the last as without.
    """
    name, content = await document_of(request)
    steps = here.ingest.add(name, content)
    if LINES in request.headers.get("accept", ""):
        return StreamingResponse(_lines(_progress(steps)), media_type=LINES)
    async with aclosing(steps):
        async for step in steps:
            if isinstance(step, Ingested):
                return JSONResponse(IngestedInfo.of(step).model_dump(), 201 if step.created else 200)
    raise AssertionError("an ingest ends with its document")


async def list_documents(here: Here) -> DocumentList:
    return DocumentList(documents=[DocumentInfo.of(document) for document in await here.store.documents()])


async def get_document(document_id: str, here: Here) -> DocumentDetail:
    found = await here.store.document(document_id)
    if found is None:
        raise NotFound(f"there is no document '{document_id}'; GET /documents lists them")
    document, pages = found
    texts = [PageText(page=number, text=text) for number, text in enumerate(pages, start=1)]
    return DocumentDetail(document=DocumentInfo.of(document), pages=texts)


async def delete_document(document_id: str, here: Here) -> None:
    if not await here.store.delete(document_id):
        raise NotFound(f"there is no document '{document_id}'; GET /documents lists them")


async def search_passages(body: SearchBody, here: Here) -> SearchAnswer:
    found = await here.search.find(body.query, body.limit, body.filters.only())
    return SearchAnswer(hits=[HitInfo.of(hit) for hit in found.hits])


async def query(body: QueryBody, here: Here) -> Response:
    """Answer a question from the documents; each [n] in the answer is the citation of that number."""
    steps = here.answers.answer(body.question, body.limit, body.model, body.filters.only())
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(aclosing(steps))
        # The first step is waited for here, so that a search that fails keeps its status.
        step = await anext(steps)
        stack.pop_all()
    said = _answering(step, steps)
    if body.stream:
        return StreamingResponse(_lines(said), media_type=LINES)
    # The answer is made inside the body, because that is cancelled when the client leaves.
    return StreamingResponse(_last(said), media_type="application/json")


async def _progress(steps: AsyncGenerator[Progress | Ingested]) -> AsyncGenerator[BaseModel]:
    async with aclosing(steps):
        async for step in steps:
            if isinstance(step, Ingested):
                yield IngestedInfo.of(step)
            else:
                yield ProgressInfo(stage=step.stage, done=step.done, total=step.total)


async def _answering(first: Piece | Answer, steps: AsyncGenerator[Piece | Answer]) -> AsyncGenerator[BaseModel]:
    async with aclosing(steps):
        yield _said(first)
        async for step in steps:
            yield _said(step)


def _said(step: Piece | Answer) -> BaseModel:
    return QueryAnswer.of(step) if isinstance(step, Answer) else TextPiece(text=step.text)


async def _last(said: AsyncGenerator[BaseModel]) -> AsyncGenerator[bytes]:
    async with aclosing(said):
        *_, last = [one async for one in said]
    yield last.model_dump_json().encode()


class TextPiece(BaseModel):
    text: str


async def _lines(said: AsyncGenerator[BaseModel]) -> AsyncGenerator[bytes]:
    """One JSON object per line; an error after the first byte is the last line."""
    async with aclosing(said):
        try:
            async for one in said:
                yield one.model_dump_json().encode() + b"\n"
        except PartageError as error:
            yield msgspec.json.encode({"error": problem_of(error)}) + b"\n"
