"""The document and the RAG service, as the pages to try them call them."""

from __future__ import annotations

import mimetypes
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TypeVar

import aiohttp
import msgspec

from partage.client.problems import error_of
from partage.errors import EngineError, EngineTimedOut, ServiceUnreachable

T = TypeVar("T")

PROCESS_TIMEOUT_S = 300.0
LONGEST_NOTE = 200


class Box(msgspec.Struct, frozen=True):
    """In shares of the page's width and height."""

    left: float
    top: float
    right: float
    bottom: float


class Page(msgspec.Struct, frozen=True):
    number: int
    text: str = ""
    method: str = ""
    width: float = 1.0
    height: float = 1.0
    turned_degrees: int = 0
    note: str | None = None


class Found(msgspec.Struct, frozen=True):
    value: str | float | int | bool | list[object] | dict[str, object] | None = None
    raw: str | None = None
    page: int | None = None
    box_normalised: Box | None = None
    confidence: float = 0.0
    reason: str | None = None


class Processed(msgspec.Struct, frozen=True):
    name: str
    pages: list[Page]
    fields: dict[str, Found] = {}
    seconds: float = 0.0


class Cited(msgspec.Struct, frozen=True):
    number: int
    document: str
    document_id: str
    page: int
    span: tuple[int, int]
    text: str
    score: float = 0.0


class Answered(msgspec.Struct, frozen=True):
    answer: str
    citations: list[Cited] = []
    supported: bool = True
    degraded: bool = False
    why_degraded: str = ""
    model: str | None = None
    timings: dict[str, float] = {}


class PageText(msgspec.Struct, frozen=True):
    page: int
    text: str


class Detail(msgspec.Struct, frozen=True):
    pages: list[PageText]


class Service:
    """One service's address. Every call raises PartageError."""

    def __init__(self, session: aiohttp.ClientSession, name: str, url: str) -> None:
        self._session, self._name, self._url = session, name, url.rstrip("/")

    async def send(
        self, method: str, path: str, answer: type[T], data: aiohttp.FormData | aiohttp.Payload | None = None
    ) -> T:
        where = f"the {self._name} service at {self._url}"
        try:
            async with self._session.request(method, self._url + path, data=data) as response:
                body = await response.read()
        except TimeoutError as error:
            raise EngineTimedOut(f"{where} did not answer in time") from error
        except aiohttp.ClientError as error:
            raise ServiceUnreachable(f"{where} does not answer; start it with `partage {self._name}`") from error
        if response.status >= 400:
            raise error_of(response.status, response.headers, body)
        try:
            return msgspec.json.decode(body, type=answer)
        except msgspec.MsgspecError as error:
            raise EngineError(f"the answer of {where} is not understood: {error}"[:LONGEST_NOTE]) from error


class Documents(Service):
    async def process(self, name: str, content: bytes, schema: str) -> Processed:
        """`schema`: a built-in name; empty for the text alone."""
        form = aiohttp.FormData({"schema": schema} if schema else {})
        form.add_field("timeout_s", str(PROCESS_TIMEOUT_S))
        media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
        form.add_field("file", content, filename=name, content_type=media_type)
        return await self.send("POST", "/process", Processed, form)


class Rag(Service):
    async def ask(self, question: str) -> Answered:
        return await self.send("POST", "/query", Answered, aiohttp.JsonPayload({"question": question}))

    async def pages(self, document_id: str) -> dict[int, str]:
        """The text of a document's pages; the spans of citations point into it."""
        detail = await self.send("GET", f"/documents/{document_id}", Detail)
        return {page.page: page.text for page in detail.pages}

    async def add(self, name: str, content: bytes) -> None:
        form = aiohttp.FormData()
        media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
        form.add_field("file", content, filename=name, content_type=media_type)
        await self.send("POST", "/documents", msgspec.Raw, form)


@asynccontextmanager
async def opened(documents_url: str, rag_url: str, key: str | None) -> AsyncGenerator[tuple[Documents, Rag]]:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    timeout = aiohttp.ClientTimeout(total=PROCESS_TIMEOUT_S + 10)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
        yield Documents(session, "documents", documents_url), Rag(session, "rag", rag_url)
