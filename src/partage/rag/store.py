"""Keeps chunks and their vectors in LanceDB: one table, one commit per change, so that no half document is ever found.

Each row is a chunk; the first row of a document also holds the texts of its pages.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import lancedb
import pyarrow as pa
from lancedb.index import FTS
from lancedb.query import AsyncFTSQuery, AsyncVectorQuery, FullTextOperator, MultiMatchQuery

from partage.errors import IndexMismatch
from partage.rag.chunk import Chunk
from partage.rag.mending import LIBRARY_ERRORS, check_damage, problems, put_aside, readable, rows_left
from partage.rag.words import Language, content_words, language_of

log = logging.getLogger(__name__)

Row: TypeAlias = dict[str, Any]
Vector: TypeAlias = Sequence[float]
Schema: TypeAlias = Any  # pyarrow ships no types

TABLE = "chunks"
# New rows are found by their words at once, but by scanning: 42 ms at 800 rows and 1.3 s at 100,000, measured, against
# 10 to 20 ms by index. So many are folded into the index together; a change counts like rows, for its files.
ROWS_PER_TIDY = 500
ROWS_PER_CHANGE = 25
KEEP_VERSIONS = timedelta(hours=1)  # a query that began on an older version may still read it

DOCUMENT_FIELDS = ("document_id", "name", "media_type", "content_hash", "added_at", "page_count", "chunk_count")
CHUNK_FIELDS = ("id", "document_id", "name", "page", "start", "end", "text", "heading", "vector")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    id: str
    name: str
    media_type: str
    content_hash: str
    added_at: str
    """ISO 8601, UTC."""
    page_count: int
    chunk_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A chunk as it was found."""

    id: str
    document_id: str
    document: str
    page: int
    start: int
    end: int
    text: str
    heading: str
    vector: Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class Only:
    """Where to look; empty: everywhere."""

    document_ids: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    media_types: tuple[str, ...] = ()


EVERYWHERE = Only()


class Store:
    def __init__(self, directory: Path, database: lancedb.AsyncConnection, table: lancedb.AsyncTable | None) -> None:
        self._directory = directory
        self._database = database
        self._table = table
        self._writing = asyncio.Lock()
        self._untidy_rows = 0

    @classmethod
    async def open(cls, directory: Path) -> Store:
        """What cannot be read is put aside, and never in the way of a start. Raises StoreError: the disk is not there, or not ours."""
        await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)
        database = await lancedb.connect_async(directory)
        store = cls(directory, database, await _table(directory, database))
        try:
            await store.tidy()
        except LIBRARY_ERRORS as error:  # a full disk, for one: what is there can be found all the same
            log.warning("the index is not tidied: %s", error)
        return store

    def problems(self) -> Sequence[str]:
        """What is wrong with it, in sentences; empty: nothing."""
        return problems(self._directory)

    def close(self) -> None:
        self._database.close()

    async def put(
        self, document: Document, pages: Sequence[str], chunks: Sequence[Chunk], vectors: Sequence[Vector], model: str
    ) -> None:
        """Add the document in the place of any other of its name. Raises IndexMismatch."""
        async with self._writing:
            table = await self._fitting_table(model, len(vectors[0]))
            rows = _rows(document, pages, chunks, vectors)
            merge = table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
            others = merge.when_not_matched_by_source_delete(f"name = {_quoted(document.name)}")
            await others.execute(pa.Table.from_pylist(rows, schema=await table.schema()))
            await self._changed(len(rows))

    async def delete(self, document_id: str) -> bool:
        async with self._writing:
            if self._table is None:
                return False
            where = f"document_id = {_quoted(document_id)}"
            known = await self._table.count_rows(where) > 0
            if known:
                await self._table.delete(where)
                await self._changed(0)
            return known

    async def check_model(self, model: str) -> None:
        """Raise IndexMismatch where vectors of this model cannot be compared with those in the table."""
        if self._table is not None:
            self._check(await self._table.schema(), model, None)

    async def _fitting_table(self, model: str, dimensions: int) -> lancedb.AsyncTable:
        if self._table is None:
            table = await self._database.create_table(TABLE, schema=_schema(model, dimensions), exist_ok=True)
            await _index(table)
            self._table = table
        self._check(await self._table.schema(), model, dimensions)
        return self._table

    def _check(self, schema: Schema, model: str, dimensions: int | None) -> None:
        made_with = (schema.metadata or {}).get(b"embed_model", b"").decode()
        made_for = schema.field("vector").type.list_size
        if made_with != model or dimensions not in {None, made_for}:
            raise IndexMismatch(
                f"the index in {self._directory} holds vectors of {made_with} ({made_for} numbers each), but the"
                f" embedding model is now {model}{f' ({dimensions})' if dimensions else ''}: set it back to"
                f" {made_with}, or move that directory away and ingest the documents again"
            )

    async def _changed(self, rows: int) -> None:
        self._untidy_rows += rows + ROWS_PER_CHANGE
        if self._untidy_rows >= ROWS_PER_TIDY:
            await self.tidy()

    async def tidy(self) -> None:
        """Fold new rows into the index of words, join small files, drop versions that nobody reads any more."""
        if self._table is not None:
            await self._table.optimize(cleanup_older_than=KEEP_VERSIONS)
            self._untidy_rows = 0

    async def documents(self) -> list[Document]:
        """All documents, by name."""
        rows = await self._select("ordinal = 0", DOCUMENT_FIELDS)
        return sorted((_document(row) for row in rows), key=lambda document: document.name)

    async def find(self, *, name: str) -> Document | None:
        rows = await self._select(f"ordinal = 0 AND name = {_quoted(name)}", DOCUMENT_FIELDS)
        return _document(rows[0]) if rows else None

    async def document(self, document_id: str) -> tuple[Document, list[str]] | None:
        """The document and the texts of its pages."""
        where = f"ordinal = 0 AND document_id = {_quoted(document_id)}"
        rows = await self._select(where, (*DOCUMENT_FIELDS, "pages"))
        return (_document(rows[0]), json.loads(rows[0]["pages"])) if rows else None

    async def nearest(self, vector: Vector, limit: int, only: Only = EVERYWHERE) -> list[Passage]:
        if self._table is None:
            return []
        # Every vector is compared, which needs no index to be kept: bench/rag_latency.py tells how long that takes.
        query = self._table.query().nearest_to(list(vector)).distance_type("cosine").bypass_vector_index()
        return await _passages(query, "_distance", limit, only)

    async def with_words(self, question: str, limit: int, only: Only = EVERYWHERE) -> list[Passage]:
        """Full text, best first (BM25)."""
        words = " ".join(content_words(question))
        if self._table is None or not words:
            return []
        columns = [language.value for language in Language]
        match = MultiMatchQuery(words, columns, boosts=None, operator=FullTextOperator.OR)
        return await _passages(self._table.query().nearest_to_text(match), "_score", limit, only)

    async def _select(self, where: str, fields: Sequence[str]) -> list[Row]:
        return [] if self._table is None else await self._table.query().where(where).select(list(fields)).to_list()


async def _table(directory: Path, database: lancedb.AsyncConnection) -> lancedb.AsyncTable | None:
    if TABLE not in (await database.list_tables()).tables:
        return None
    try:
        table = await database.open_table(TABLE)
        await _index(table)
        await readable(table)
    except LIBRARY_ERRORS as error:
        check_damage(error, directory)
        rows = await rows_left(database, TABLE)
        file = directory / f"{TABLE}.lance"
        count = None if rows is None else rows.num_rows
        await asyncio.to_thread(put_aside, directory, file, error, rows=count, now=datetime.now(UTC))
        if rows is None:
            return None
        table = await database.create_table(TABLE, rows, schema=rows.schema)
        await _index(table)
    return table


async def _passages(query: AsyncVectorQuery | AsyncFTSQuery, rank: str, limit: int, only: Only) -> list[Passage]:
    if where := _where(only):
        query = query.where(where)
    return [
        Passage(document=row["name"], **{name: row[name] for name in CHUNK_FIELDS if name != "name"})
        for row in await query.select([*CHUNK_FIELDS, rank]).limit(limit).to_list()
    ]


def _where(only: Only) -> str:
    columns = {"document_id": only.document_ids, "name": only.names, "media_type": only.media_types}
    return " AND ".join(f"{column} IN ({', '.join(map(_quoted, some))})" for column, some in columns.items() if some)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _schema(model: str, dimensions: int) -> Schema:
    texts = ("id", "document_id", "name", "media_type", "content_hash", "added_at", "text", "heading")
    numbers = ("ordinal", "page", "start", "end", "page_count", "chunk_count")
    return pa.schema(
        [
            *(pa.field(name, pa.string(), nullable=False) for name in texts),
            *(pa.field(name, pa.int32(), nullable=False) for name in numbers),
            pa.field("pages", pa.large_string()),
            *(pa.field(language.value, pa.string()) for language in Language),
            pa.field("vector", pa.list_(pa.float32(), dimensions), nullable=False),
        ],
        metadata={"embed_model": model},
    )


async def _index(table: lancedb.AsyncTable) -> None:
    """Index the words: one column per language, as each has its own stems; a chunk's text is in that of its language."""
    indexed = {column for index in await table.list_indices() for column in index.columns}
    for language in Language:
        if language.value not in indexed:
            # Stop words are left out of the question instead (words.py): the library drops them after stemming, and
            # with them "Ware" (goods), whose German stem is that of "war" (was).
            await table.create_index(
                language.value, config=FTS(language=language.value.capitalize(), remove_stop_words=False)
            )


def _rows(document: Document, pages: Sequence[str], chunks: Sequence[Chunk], vectors: Iterable[Vector]) -> list[Row]:
    shared: Mapping[str, object] = {
        "document_id": document.id,
        "name": document.name,
        "media_type": document.media_type,
        "content_hash": document.content_hash,
        "added_at": document.added_at,
        "page_count": document.page_count,
        "chunk_count": document.chunk_count,
    }
    return [
        {
            **shared,
            "id": f"{document.id}:{ordinal}",
            "ordinal": ordinal,
            "page": chunk.page,
            "start": chunk.start,
            "end": chunk.end,
            "text": chunk.text,
            "heading": chunk.heading,
            "pages": json.dumps(list(pages)) if ordinal == 0 else None,
            language_of(chunk.text).value: f"{chunk.heading}\n{chunk.text}",
            "vector": vector,
        }
        for ordinal, (chunk, vector) in enumerate(zip(chunks, vectors, strict=True))
    ]


def _document(row: Row) -> Document:
    return Document(id=row["document_id"], **{name: row[name] for name in DOCUMENT_FIELDS[1:]})
