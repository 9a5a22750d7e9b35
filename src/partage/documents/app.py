"""The document service: POST /process answers with pages and fields, /jobs does the same without waiting."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.responses import Response, StreamingResponse

from partage import __version__
from partage.documents.jobs import Job, Jobs, Order, Progress, State
from partage.documents.pool import ReaderPool
from partage.documents.process import Document, Readers, process
from partage.documents.schemas import BUILT_IN, schema_of
from partage.documents.settings import DocumentSettings
from partage.documents.sniff import kind_of
from partage.documents.upload import receive
from partage.documents.vision import HubReader, Reader
from partage.errors import EngineTimedOut, InvalidRequest
from partage.json_value import JsonObject
from partage.service_problems import answer_errors_in_one_shape, answer_of, problem_of

LONGEST_TIMEOUT_S = 3600.0
_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "PDF, PNG, JPEG, TIFF or WebP"},
                        "schema": {"type": "string", "description": f"{', '.join(BUILT_IN)}, or a JSON Schema"},
                        "model": {"type": "string", "description": "vision model for pages without a text layer"},
                        "timeout_s": {"type": "number", "default": 120},
                    },
                }
            }
        },
    }
}


def create_app(
    settings: DocumentSettings,
    *,
    readers: Callable[[DocumentSettings], AbstractAsyncContextManager[Readers]] = ReaderPool,
    reader: Reader | None = None,
) -> FastAPI:
    """`readers` and `reader` are other reading processes and another vision model, for tests."""
    service = _Service(settings, readers, reader)
    app = FastAPI(title="Partage documents", version=__version__, lifespan=service.lifespan)
    answer_errors_in_one_shape(app)
    app.post("/process", openapi_extra=_FORM)(service.process)
    app.post("/jobs", status_code=202, openapi_extra=_FORM)(service.submit)
    app.get("/jobs/{id}")(service.job)
    app.get("/jobs/{id}/events")(service.events)
    app.delete("/jobs/{id}")(service.cancel)
    app.get("/healthz")(service.health)
    return app


class _Service:
    def __init__(
        self,
        settings: DocumentSettings,
        readers: Callable[[DocumentSettings], AbstractAsyncContextManager[Readers]],
        reader: Reader | None,
    ) -> None:
        self._settings = settings
        self._make_readers = readers
        self._reader = reader
        self._readers: Readers | None = None
        self._jobs: Jobs | None = None

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncGenerator[None]:
        settings = self._settings
        async with AsyncExitStack() as stack:
            self._readers = app.state.readers = await stack.enter_async_context(self._make_readers(settings))
            if self._reader is None and settings.vision_model != "":
                hub = HubReader(settings.hub_url, settings.api_key, settings.vision_model)
                self._reader = await stack.enter_async_context(hub)
            self._jobs = await stack.enter_async_context(
                Jobs(
                    settings.data_dir,
                    self._work,
                    at_once=settings.workers + 1,  # one is opened or asks the model while the others are read
                    waiting=settings.waiting_jobs,
                    kept=settings.kept_jobs,
                    kept_s=settings.kept_s,
                )
            )
            yield

    async def process(self, request: Request) -> JSONResponse:
        """Read the document and wait for the answer; 504 with the job's id when that takes longer than `timeout_s`."""
        job, timeout_s = await self._accept(request)
        record = job.record
        try:
            async with asyncio.timeout(timeout_s):
                await job.wait_final()
        except TimeoutError:
            late = EngineTimedOut(
                f"not finished within {timeout_s:g} s; the work goes on: GET /jobs/{record.id} for the result"
            )
            return answer_of(problem_of(late, job_id=record.id))
        match record.state:
            case State.DONE:
                return JSONResponse({"job_id": record.id, **(record.result or {})})
            case State.FAILED:
                return answer_of({**(record.error or {}), "job_id": record.id})
            case _:
                gone: JsonObject = {"type": "Cancelled", "message": "the job was cancelled", "status": 409}
                return answer_of(gone | {"job_id": record.id})

    async def submit(self, request: Request) -> JSONResponse:
        job, _ = await self._accept(request)
        return JSONResponse(_shown(job), 202, {"Location": f"/jobs/{job.record.id}"})

    async def job(self, id: str) -> JSONResponse:  # noqa: A002 - the path's own word
        return JSONResponse(_shown(self._running.get(id)))

    async def events(self, id: str, request: Request) -> Response:  # noqa: A002 - the path's own word
        """Progress as server-sent events, from the beginning or after Last-Event-ID, until the job is finished."""
        job = self._running.get(id)
        after = request.headers.get("last-event-id", "0")
        stream = _event_stream(job, int(after) if after.isdigit() else 0)
        return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    async def cancel(self, id: str) -> JSONResponse:  # noqa: A002 - the path's own word
        return JSONResponse(_shown(await self._running.cancel(id)))

    async def health(self) -> JSONResponse:
        jobs = self._running
        return JSONResponse({"status": "ok", "running": jobs.count(State.RUNNING), "queued": jobs.count(State.QUEUED)})

    @property
    def _running(self) -> Jobs:
        assert self._jobs is not None, "the application has not been started"
        return self._jobs

    async def _accept(self, request: Request) -> tuple[Job, float]:
        jobs = self._running
        jobs.check_room()
        path = jobs.uploads / secrets.token_hex(12)
        upload = await receive(request, path, self._settings.limits.upload_bytes)
        try:
            kind = kind_of(upload.head, upload.name, upload.media_type)
            schema = upload.fields.get("schema") or None
            if schema is not None:
                schema_of(schema)  # what is wrong with it is told before the work, not after
            timeout_s = _timeout_s(upload.fields.get("timeout_s"), self._settings.timeout_s)
            model = upload.fields.get("model") or None
            order = Order(upload=path.name, kind=kind, name=upload.name or "document", schema=schema, model=model)
            return jobs.submit(order), timeout_s
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    async def _work(self, order: Order, path: Path, progress: Progress) -> JsonObject:
        assert self._readers is not None
        schema = None if order.schema is None else schema_of(order.schema)
        document = Document(path=path, kind=order.kind, name=order.name, schema=schema, model=order.model)
        return (await process(document, self._readers, self._reader, progress)).to_json()


def _shown(job: Job) -> JsonObject:
    record = job.record
    return {
        "id": record.id,
        "state": record.state.value,
        "name": record.order.name,
        "created_at": record.created_at,
        "finished_at": record.finished_at,
        "progress": job.events[-1] if job.events else None,
        "result": record.result,
        "error": record.error,
    }


async def _event_stream(job: Job, after: int) -> AsyncGenerator[bytes]:
    events = job.follow(after)
    try:
        async for number, event in events:
            yield b"id: %d\nevent: %s\ndata: %s\n\n" % (
                number,
                str(event["event"]).encode(),
                msgspec.json.encode(event),
            )
    finally:
        await events.aclose()


def _timeout_s(text: str | None, default_s: float) -> float:
    if not text:
        return default_s
    try:
        timeout_s = float(text)
    except ValueError:
        timeout_s = 0.0
    if not 0 < timeout_s <= LONGEST_TIMEOUT_S:
        raise InvalidRequest(f"timeout_s is {text[:20]!r}; give seconds between 0 and {LONGEST_TIMEOUT_S:g}")
    return timeout_s
