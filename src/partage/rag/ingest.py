"""Takes a document in: read, cut, embed in small batches, and put into the index in one step."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

from partage.rag.chunk import Chunk, chunk_pages
from partage.rag.hub import Hub
from partage.rag.read import PageReader, read_pages
from partage.rag.settings import RagSettings
from partage.rag.store import Document, Store


@dataclass(frozen=True, slots=True)
class Progress:
    stage: str
    """"reading", then "embedding"."""
    done: int
    total: int
    """Chunks; 0 while the document is read."""


@dataclass(frozen=True, slots=True)
class Ingested:
    document: Document
    created: bool
    """False: the same content was there under this name already."""


Step: TypeAlias = Progress | Ingested


class Ingest:
    def __init__(
        self,
        hub: Hub,
        store: Store,
        reader: PageReader,
        settings: RagSettings,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._hub = hub
        self._store = store
        self._reader = reader
        self._settings = settings
        self._now = now
        self._free = asyncio.Semaphore(settings.parallel_ingests)

    async def add(self, name: str, content: bytes | str) -> AsyncGenerator[Step]:
        """Yield progress, last the document. Nothing is stored before the last step, then all of it is."""
        raw = content.encode("utf-8", "replace") if isinstance(content, str) else content
        content_hash = await asyncio.to_thread(_digest, raw)
        known = await self._store.find(name=name)
        if known is not None and known.content_hash == content_hash:
            yield Ingested(known, created=False)
            return
        await self._store.check_model(self._settings.embed_model)
        async with self._free:
            yield Progress("reading", 0, 0)
            limit = self._settings.max_text_characters
            pages, media_type = await read_pages(name, content, self._reader, max_characters=limit)
            chunks = await asyncio.to_thread(chunk_pages, pages)
            vectors: list[list[float]] = []
            for start in range(0, len(chunks), self._settings.embed_batch):
                yield Progress("embedding", start, len(chunks))
                vectors += await self._embed(name, chunks[start : start + self._settings.embed_batch])
            document = Document(
                id=_digest(f"{name}\0{content_hash}".encode())[:16],
                name=name,
                media_type=media_type,
                content_hash=content_hash,
                added_at=self._now().isoformat(timespec="seconds"),
                page_count=len(pages),
                chunk_count=len(chunks),
            )
            await self._store.put(document, pages, chunks, vectors, self._settings.embed_model)
            yield Progress("embedding", len(chunks), len(chunks))
        yield Ingested(document, created=True)

    async def _embed(self, name: str, chunks: Sequence[Chunk]) -> list[list[float]]:
        # Where a text comes from often says what it is about: "Returns > Shipping", or a file's name.
        texts = [f"{chunk.heading or name}\n{chunk.text}" for chunk in chunks]
        return await self._hub.embed(self._settings.embed_model, texts, timeout_s=self._settings.ingest_timeout_s)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
