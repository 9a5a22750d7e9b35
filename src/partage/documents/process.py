"""Processes one document: pages in parallel as far as there are readers, a vision model where it helps, then the fields."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from partage.documents.answer import Processed
from partage.documents.calls import Call, Inspect, Pages, Picture, Read, ReadPage, RenderPage, Reply
from partage.documents.extract import Field, extract
from partage.documents.page import Page, ReadBy
from partage.documents.schemas import Schema
from partage.documents.sniff import Kind
from partage.documents.verify import is_of_this_page, with_model
from partage.documents.vision import Reader
from partage.errors import PartageError, RequestError
from partage.json_value import JsonObject

log = logging.getLogger(__name__)
Progress = Callable[[JsonObject], None]


class Readers(Protocol):
    """Reading processes, or a test's."""

    def call(self, call: Call) -> Awaitable[Reply]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    path: Path
    kind: Kind
    name: str
    schema: Schema | None
    model: str | None
    """The vision model that was asked for; None: the service's own choice."""


async def process(document: Document, readers: Readers, reader: Reader | None, progress: Progress) -> Processed:
    """Raises DocumentError, and ModelNotFound and its like when a model was named that cannot be used."""
    started = time.perf_counter()
    counted = await readers.call(Inspect(str(document.path), document.kind))
    assert isinstance(counted, Pages)
    progress({"event": "opened", "pages": counted.count})
    run = _Run(document, readers, reader, progress, counted.count)
    tasks: list[asyncio.Task[Page]] = []
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(run.page(number)) for number in range(1, counted.count + 1)]
    except* PartageError as group_error:
        raise group_error.exceptions[0] from None
    pages = tuple(task.result() for task in tasks)
    fields = await run.fields(pages)
    return Processed(
        name=document.name,
        schema=None if document.schema is None else document.schema.name,
        pages=pages,
        fields=fields,
        seconds=time.perf_counter() - started,
    )


class _Run:
    def __init__(
        self, document: Document, readers: Readers, reader: Reader | None, progress: Progress, count: int
    ) -> None:
        self._document = document
        self._readers = readers
        self._reader = reader
        self._progress = progress
        self._count = count
        self._done = 0
        self._pictures: dict[int, bytes] = {}
        self._model: str | None = None

    async def page(self, number: int) -> Page:
        reply = await self._readers.call(ReadPage(str(self._document.path), self._document.kind, number))
        assert isinstance(reply, Read)
        page = reply.page
        if page.read_by is not ReadBy.TEXT_LAYER and self._reader is not None:
            page = await self._seen(page, self._reader)
        self._done += 1
        done: JsonObject = {"event": "page", "page": number, "method": page.read_by.value, "seconds": page.seconds}
        self._progress(done | {"done": self._done, "pages": self._count})
        return page

    async def _seen(self, page: Page, reader: Reader) -> Page:
        """The page as the vision model reads it, on the evidence of OCR; as OCR read it where the model cannot."""
        started = time.perf_counter()
        try:
            model = await reader.model(self._document.model)
            if model is None:
                return page
            call = RenderPage(str(self._document.path), self._document.kind, page.number, page.turned_degrees)
            picture = await self._readers.call(call)
            assert isinstance(picture, Picture)
            text = await reader.transcribe(model, picture.jpeg)
        except PartageError as error:
            if self._document.model is not None and isinstance(error, RequestError):
                raise  # named by the client, and not to be had: the client should know
            log.info("page %d of %s is read by OCR: %s", page.number, self._document.name, error.message)
            return replace(page, note=f"no vision model: {error.message}")
        if not is_of_this_page(text, page):
            return replace(page, note=f"what {model} wrote is not what is on the page; read by OCR")
        self._model, self._pictures[page.number] = model, picture.jpeg
        seconds = round(page.seconds + time.perf_counter() - started, 3)
        return replace(page, text=text, read_by=ReadBy.VISION_MODEL, seconds=seconds)

    async def fields(self, pages: tuple[Page, ...]) -> tuple[Field, ...]:
        schema = self._document.schema
        if schema is None:
            return ()
        # Seconds of pure Python on long documents: not on the loop that answers everyone.
        fields = await asyncio.to_thread(extract, pages, schema)
        if self._model is None or self._reader is None:
            return fields
        pictures = tuple(self._pictures[number] for number in sorted(self._pictures))
        text = "\n\n".join(page.text for page in pages)
        try:
            said = await self._reader.fields(self._model, text, pictures, schema.json_schema)
        except PartageError as error:
            log.info("the fields of %s are read by rules alone: %s", self._document.name, error.message)
            return fields
        return await asyncio.to_thread(with_model, fields, said, pages, schema)
