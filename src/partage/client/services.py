"""The document and the RAG service as their callers see them: HTTP in, plain data out. For commands, web page and demo."""

from __future__ import annotations

import mimetypes
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import aiohttp
import msgspec

from partage.client.problems import error_of
from partage.errors import EngineError, EngineTimedOut, PartageError, ServiceUnreachable

T = TypeVar("T")

PROCESS_TIMEOUT_S = 300.0
CONNECT_TIMEOUT_S = 5.0
LINES = "application/x-ndjson"
LONGEST_QUOTE = 200


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
    seconds: float = 0.0


class Found(msgspec.Struct, frozen=True):
    value: str | float | int | bool | list[object] | dict[str, object] | None = None
    raw: str | None = None
    page: int | None = None
    box_normalised: Box | None = None
    confidence: float = 0.0
    reason: str | None = None


class Processed(msgspec.Struct, frozen=True):
    pages: list[Page]
    name: str = ""
    fields: dict[str, Found] = {}
    seconds: float = 0.0


class Cited(msgspec.Struct, frozen=True):
    document: str
    number: int = 0
    document_id: str = ""
    page: int = 0
    span: tuple[int, int] = (0, 0)
    text: str = ""
    score: float = 0.0


class Answered(msgspec.Struct, frozen=True):
    answer: str
    citations: list[Cited] = []
    supported: bool = True
    degraded: bool = False
    why_degraded: str = ""
    model: str | None = None
    timings: dict[str, float] = {}


class _PageText(msgspec.Struct, frozen=True):
    page: int
    text: str


class _Detail(msgspec.Struct, frozen=True):
    pages: list[_PageText]


class _Indexed(msgspec.Struct, frozen=True):
    id: str
    name: str


class _Known(msgspec.Struct, frozen=True):
    documents: list[_Indexed]


class Service:
    """One service's address. Every call raises PartageError."""

    def __init__(self, session: aiohttp.ClientSession, name: str, url: str) -> None:
        self._session, self._name, self.url = session, name, url.rstrip("/")

    async def send(
        self, method: str, path: str, answer: type[T], data: aiohttp.FormData | aiohttp.Payload | None = None
    ) -> T:
        """`answer`: what the body must be; msgspec.Raw where nobody looks at it."""
        async with self._exchange(method, path, data) as response:
            body = await response.read()
        try:
            return msgspec.json.decode(body or b"null", type=answer)
        except msgspec.MsgspecError as error:
            raise EngineError(
                f"the answer of {self._where} is not understood ({error}): {body[:LONGEST_QUOTE]!r}"
            ) from error

    @asynccontextmanager
    async def lines(
        self, method: str, path: str, data: aiohttp.FormData | None = None
    ) -> AsyncGenerator[aiohttp.StreamReader]:
        """The answer as it comes, to be read line by line."""
        async with self._exchange(method, path, data, {"Accept": f"{LINES}, application/json"}) as response:
            yield response.content

    @asynccontextmanager
    async def _exchange(
        self,
        method: str,
        path: str,
        data: aiohttp.FormData | aiohttp.Payload | None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        try:
            async with self._session.request(method, self.url + path, data=data, headers=headers) as response:
                if response.status >= 400:
                    raise error_of(response.status, response.headers, await response.read())
                yield response
        except PartageError:
            raise
        except TimeoutError as error:
            raise EngineTimedOut(f"{self._where} did not answer in time") from error
        except aiohttp.ClientConnectorError as error:
            raise ServiceUnreachable(f"{self._where} does not answer; start it with `partage up`") from error
        except aiohttp.ClientError as error:
            raise ServiceUnreachable(f"{self._where} broke off: {error}") from error

    @property
    def _where(self) -> str:
        return f"the {self._name} service at {self.url}"


class Documents(Service):
    async def process(self, name: str, content: bytes, schema: str) -> Processed:
        """`schema`: a built-in name; empty for the text alone."""
        fields = {"timeout_s": str(PROCESS_TIMEOUT_S)} | ({"schema": schema} if schema else {})
        return await self.send("POST", "/process", Processed, file_form(name, content, fields))


class Rag(Service):
    async def ask(self, question: str) -> Answered:
        return await self.send("POST", "/query", Answered, aiohttp.JsonPayload({"question": question}))

    async def pages(self, document_id: str) -> dict[int, str]:
        """The text of a document's pages; the spans of citations point into it."""
        detail = await self.send("GET", f"/documents/{document_id}", _Detail)
        return {page.page: page.text for page in detail.pages}

    async def add(self, name: str, content: bytes) -> None:
        """Index a file; the service has it read by the document service where it is more than text."""
        await self.send("POST", "/documents", msgspec.Raw, file_form(name, content))

    async def add_pages(self, name: str, pages: Sequence[str]) -> None:
        """Index pages that were read before, so that no scan is read twice."""
        body = {"name": name, "text": "\f".join(pages)}  # a form feed ends a page
        await self.send("POST", "/documents", msgspec.Raw, aiohttp.JsonPayload(body))

    async def remove(self, names: Collection[str]) -> None:
        """Take documents with these names out of the index; those that are not in it are no error."""
        known = await self.send("GET", "/documents", _Known)
        for document in known.documents:
            if document.name in names:
                await self.send("DELETE", f"/documents/{document.id}", msgspec.Raw)


def file_form(name: str, content: bytes, fields: dict[str, str] | None = None) -> aiohttp.FormData:
    form = aiohttp.FormData(fields or {})
    media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    form.add_field("file", content, filename=name, content_type=media_type)
    return form


@asynccontextmanager
async def service_session(
    key: str | None = None, *, timeout_s: float | None = PROCESS_TIMEOUT_S + 10
) -> AsyncGenerator[aiohttp.ClientSession]:
    """`timeout_s` bounds a whole call; longer than the service's own, for a machine that is busy with other things."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_TIMEOUT_S)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
        yield session
