"""The demo's own small clients of the document and the RAG service: HTTP in, plain data out."""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol, TypeVar

import aiohttp
import msgspec

from partage.client.problems import error_of
from partage.demo.outcome import Citation
from partage.demo.samples.returns import Value
from partage.errors import EngineError, EngineTimedOut, ServiceUnreachable

T = TypeVar("T")

CALL_TIMEOUT_S = 300.0
"""Longer than the service's own, for a machine that is busy with other things."""


class ReadPage(msgspec.Struct, frozen=True):
    number: int
    method: str = ""
    seconds: float = 0.0
    text: str = ""


class ReadField(msgspec.Struct, frozen=True):
    value: Value = None
    page: int | None = None
    confidence: float | None = None


class Processed(msgspec.Struct, frozen=True):
    pages: list[ReadPage]
    fields: dict[str, ReadField | None] = {}


class Cited(msgspec.Struct, frozen=True):
    document: str
    page: int | None = None
    text: str = ""


class Answered(msgspec.Struct, frozen=True):
    answer: str
    citations: list[Cited] = []


class Indexed(msgspec.Struct, frozen=True):
    id: str
    name: str


class Known(msgspec.Struct, frozen=True):
    documents: list[Indexed]


class DocumentService(Protocol):
    async def process(self, path: Path) -> Processed: ...


class RagService(Protocol):
    async def add_file(self, path: Path) -> None: ...

    async def add_pages(self, name: str, pages: Sequence[str]) -> None: ...

    async def ask(self, question: str) -> tuple[str, tuple[Citation, ...]]: ...

    async def remove(self, names: Collection[str]) -> None: ...


class HttpDocuments:
    def __init__(self, http: Http) -> None:
        self._http = http

    async def process(self, path: Path) -> Processed:
        """Read one file by the schema `rma`. Raises PartageError."""
        return await self._http.post_file("/process", path, Processed, schema="rma", timeout_s=str(CALL_TIMEOUT_S))


class HttpRag:
    def __init__(self, http: Http) -> None:
        self._http = http

    async def add_file(self, path: Path) -> None:
        """Index a file; the service reads it, through the document service where it is more than text."""
        await self._http.post_file("/documents", path, msgspec.Raw)

    async def add_pages(self, name: str, pages: Sequence[str]) -> None:
        """Index pages that were read before, so that no scan is read twice. A form feed ends a page."""
        await self._http.post_json("/documents", {"name": name, "text": "\f".join(pages)}, msgspec.Raw)

    async def ask(self, question: str) -> tuple[str, tuple[Citation, ...]]:
        answered = await self._http.post_json("/query", {"question": question}, Answered)
        return answered.answer, tuple(Citation(cited.document, cited.page, cited.text) for cited in answered.citations)

    async def remove(self, names: Collection[str]) -> None:
        """Take documents with these names out of the index; those that are not in it are no error."""
        known = await self._http.send("GET", "/documents", Known)
        for document in known.documents:
            if document.name in names:
                await self._http.send("DELETE", f"/documents/{document.id}", msgspec.Raw)


class Http:
    """One service's address, held open as `async with open_http(...)`."""

    def __init__(self, session: aiohttp.ClientSession, name: str, url: str) -> None:
        self._session, self._name, self._url = session, name, url.rstrip("/")

    async def post_file(self, path: str, file: Path, answer: type[T], **fields: str) -> T:
        form = aiohttp.FormData(fields)
        media_type = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        data = await asyncio.to_thread(file.read_bytes)
        form.add_field("file", data, filename=file.name, content_type=media_type)
        return await self.send("POST", path, answer, form)

    async def post_json(self, path: str, body: dict[str, str], answer: type[T]) -> T:
        return await self.send("POST", path, answer, aiohttp.JsonPayload(body))

    async def send(
        self, method: str, path: str, answer: type[T], data: aiohttp.FormData | aiohttp.Payload | None = None
    ) -> T:
        """`answer`: what the body must be; msgspec.Raw where nobody looks at it. Raises PartageError."""
        where = f"the {self._name} service at {self._url}"
        try:
            async with self._session.request(method, self._url + path, data=data) as response:
                body = await response.read()
                if response.status >= 400:
                    raise error_of(response.status, response.headers, body)
        except TimeoutError as error:
            raise EngineTimedOut(f"{where} did not answer in time") from error
        except aiohttp.ClientConnectorError as error:
            raise ServiceUnreachable(f"{where} does not answer") from error
        except aiohttp.ClientError as error:
            raise ServiceUnreachable(f"{where} broke off: {error}") from error
        try:
            return msgspec.json.decode(body or b"null", type=answer)
        except msgspec.MsgspecError as error:
            raise EngineError(f"the answer of {where} is not understood ({error}): {body[:200]!r}") from error


@asynccontextmanager
async def open_http(
    name: str, url: str, *, key: str | None, timeout_s: float = CALL_TIMEOUT_S + 10
) -> AsyncGenerator[Http]:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
        yield Http(session, name, url)
