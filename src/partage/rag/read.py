"""Makes page texts of a file: text and Markdown here, PDF and images through the document service."""

from __future__ import annotations

import asyncio
import io
from pathlib import PurePath
from typing import Protocol

import aiohttp
import msgspec

from partage.client.problems import error_of
from partage.errors import (
    DocumentUnreadable,
    EngineTimedOut,
    PartageError,
    ServiceUnreachable,
    TooLarge,
    UnsupportedDocument,
)

TEXT_TYPES = {".md": "text/markdown", ".markdown": "text/markdown", ".txt": "text/plain", ".text": "text/plain", "": ""}
PICTURE_TYPES = {
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".webp": "image/webp",
}
SENT = "send text, Markdown, PDF, PNG, JPEG, TIFF or WebP"


class PageReader(Protocol):
    """Reads what is more than text."""

    async def pages(self, name: str, content: bytes, media_type: str) -> list[str]: ...


class DocumentService:
    """The document service as a reader of pages. Its own limits and errors apply."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        # The service is told how long to try, and given a little more to say that it was not enough.
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout_s + 10, sock_connect=5))

    async def close(self) -> None:
        await self._session.close()

    async def pages(self, name: str, content: bytes, media_type: str) -> list[str]:
        form = aiohttp.FormData({"timeout_s": f"{self._timeout_s:g}"})
        form.add_field("file", io.BytesIO(content), filename=name, content_type=media_type)
        try:
            async with self._session.post(f"{self._url}/process", data=form) as reply:
                body = await reply.read()
        except aiohttp.ClientError as error:
            raise ServiceUnreachable(
                f"{name} needs the document service, which does not answer at {self._url}: start it with"
                " `partage documents`"
            ) from error
        except TimeoutError as error:
            raise EngineTimedOut(f"the document service did not read {name} within {self._timeout_s:g} s") from error
        if reply.status >= 400:
            raise error_of(reply.status, reply.headers, body)
        return _page_texts(body)


class _Page(msgspec.Struct):
    text: str = ""


class _Processed(msgspec.Struct):
    pages: list[_Page]


def _page_texts(body: bytes) -> list[str]:
    try:
        return [page.text for page in msgspec.json.decode(body, type=_Processed).pages]
    except msgspec.MsgspecError as error:
        raise PartageError(f"the document service's answer is not understood: {error}") from error


async def read_pages(
    name: str, content: bytes | str, reader: PageReader, *, max_characters: int
) -> tuple[list[str], str]:
    """Return the pages' texts and the media type. Raises DocumentError, TooLarge and what the reader raises.

    What comes as a string is text, whatever its name says: "scan.pdf" may have been read elsewhere.
    """
    media_type = media_type_of(name, content) if isinstance(content, bytes) else text_type_of(name)
    if isinstance(content, bytes) and not media_type.startswith("text/"):
        pages = await reader.pages(name, content, media_type)
    else:
        text = content if isinstance(content, str) else await asyncio.to_thread(decoded, name, content)
        pages = text.split("\f")  # a form feed ends a page in what comes from PDF converters
    pages = [_clean(page) for page in pages]
    if not any(page.strip() for page in pages):
        raise DocumentUnreadable(f"{name} is empty: there is no text in it to find again")
    if sum(map(len, pages)) > max_characters:
        raise TooLarge(f"{name} has more than {max_characters:,} characters of text; divide it")
    return pages, media_type


def media_type_of(name: str, content: bytes) -> str:
    """Tell the media type by name and first bytes; raises UnsupportedDocument where they disagree or it is unknown."""
    suffix = PurePath(name).suffix.lower()
    promised, found = PICTURE_TYPES.get(suffix), _picture_type(content)
    if promised is not None and found != promised:
        really = found or ("empty" if not content else "something else")
        raise UnsupportedDocument(f"{name} is not what its name says: expected {promised}, found {really}; {SENT}")
    if found is not None:
        if suffix in TEXT_TYPES and suffix:
            raise UnsupportedDocument(f"{name} is not what its name says: it holds {found}, not text; rename it")
        return found
    # Text needs no known suffix (README, notes.log), only to be text.
    if b"\0" in content[:65536] and not content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UnsupportedDocument(f"{name} is not a kind of file that is read here; {SENT}")
    return text_type_of(name)


def text_type_of(name: str) -> str:
    return TEXT_TYPES.get(PurePath(name).suffix.lower()) or "text/plain"


def _picture_type(content: bytes) -> str | None:
    for mark, media_type in (
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"II*\0", "image/tiff"),
        (b"MM\0*", "image/tiff"),
    ):
        if content.startswith(mark):
            return media_type
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    # Readers of PDF allow some bytes before the mark, and so do real files.
    return "application/pdf" if b"%PDF-" in content[:1024] else None


def decoded(name: str, content: bytes) -> str:
    """Decode UTF-8, UTF-16 with its mark, or Windows-1252, in which old German files are."""
    encodings = ["utf-16"] if content.startswith((b"\xff\xfe", b"\xfe\xff")) else ["utf-8-sig", "cp1252"]
    for encoding in encodings:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise UnsupportedDocument(f"{name} is neither UTF-8 nor Windows-1252 text; save it as UTF-8")


def _clean(text: str) -> str:
    """Make all line ends newlines; drop NUL and lone surrogates (JSON may carry them), which no index takes."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", " ")
    return text.encode("utf-8", "replace").decode()
