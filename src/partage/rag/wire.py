"""The JSON of the RAG service, as its users see it in /docs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from partage.rag import answer, ingest, search, store

MAX_HITS = 50
Text = Annotated[str, Field(min_length=1, max_length=8000)]
Limit = Annotated[int, Field(ge=1, le=MAX_HITS, description="how many passages")]


class Body(BaseModel):
    # A misspelt field is an error, not a silent default.
    model_config = ConfigDict(extra="forbid")


class TextDocument(Body):
    name: Annotated[str, Field(min_length=1, max_length=500)]
    text: str


class Filters(Body):
    """Where to look; what is left empty does not narrow."""

    document_ids: list[str] = []
    documents: list[str] = Field(default=[], description="names")
    media_types: list[str] = []

    def only(self) -> store.Only:
        return store.Only(
            document_ids=tuple(self.document_ids), names=tuple(self.documents), media_types=tuple(self.media_types)
        )


class SearchBody(Body):
    query: Text
    limit: Limit = 10
    filters: Filters = Filters()


class QueryBody(Body):
    question: Text
    limit: Limit = 5
    model: str | None = Field(default=None, description="null: the service's own, or the largest that the hub has")
    filters: Filters = Filters()
    stream: bool = Field(default=False, description="answer with JSON lines: {text} ..., last the whole answer")


class DocumentInfo(BaseModel):
    id: str
    name: str
    media_type: str
    pages: int
    chunks: int
    added_at: str
    content_hash: str

    @classmethod
    def of(cls, document: store.Document) -> DocumentInfo:
        return cls(
            id=document.id,
            name=document.name,
            media_type=document.media_type,
            pages=document.page_count,
            chunks=document.chunk_count,
            added_at=document.added_at,
            content_hash=document.content_hash,
        )


class IngestedInfo(BaseModel):
    document: DocumentInfo
    created: bool = Field(description="false: the same content was there under this name already")

    @classmethod
    def of(cls, ingested: ingest.Ingested) -> IngestedInfo:
        return cls(document=DocumentInfo.of(ingested.document), created=ingested.created)


class HealthInfo(BaseModel):
    status: Literal["ok", "degraded"]
    problems: list[str]


class ProgressInfo(BaseModel):
    stage: str
    done: int
    total: int


class PageText(BaseModel):
    page: int
    text: str


class DocumentDetail(BaseModel):
    document: DocumentInfo
    pages: list[PageText] = Field(description="spans are character offsets in these texts")


class DocumentList(BaseModel):
    documents: list[DocumentInfo]


class HitInfo(BaseModel):
    document: str
    document_id: str
    page: int
    span: tuple[int, int] = Field(description="[start, end) in the page's text, which is `text`")
    text: str
    heading: str
    score: float = Field(description="1: first by meaning and first by words")
    similarity: float = Field(description="cosine of the vectors")

    @classmethod
    def of(cls, hit: search.Hit) -> HitInfo:
        passage = hit.passage
        return cls(
            document=passage.document,
            document_id=passage.document_id,
            page=passage.page,
            span=(passage.start, passage.end),
            text=passage.text,
            heading=passage.heading,
            score=round(hit.score, 4),
            similarity=round(hit.similarity, 4),
        )


class SearchAnswer(BaseModel):
    hits: list[HitInfo]


class CitationInfo(BaseModel):
    number: int
    document: str
    document_id: str
    page: int
    span: tuple[int, int]
    text: str
    score: float

    @classmethod
    def of(cls, citation: answer.Citation) -> CitationInfo:
        return cls(
            number=citation.number,
            document=citation.document,
            document_id=citation.document_id,
            page=citation.page,
            span=(citation.start, citation.end),
            text=citation.text,
            score=round(citation.score, 4),
        )


class Timings(BaseModel):
    search_s: float
    chat_s: float
    total_s: float


class QueryAnswer(BaseModel):
    answer: str
    citations: list[CitationInfo]
    supported: bool = Field(description="false: the documents do not answer it")
    degraded: bool = Field(description="true: the chat model was away, the answer is the passages alone")
    why_degraded: str
    model: str | None
    timings: Timings

    @classmethod
    def of(cls, given: answer.Answer) -> QueryAnswer:
        return cls(
            answer=given.text,
            citations=[CitationInfo.of(citation) for citation in given.citations],
            supported=given.supported,
            degraded=given.degraded,
            why_degraded=given.why_degraded,
            model=given.model,
            timings=Timings(
                search_s=round(given.search_s, 4), chat_s=round(given.chat_s, 4), total_s=round(given.total_s, 4)
            ),
        )
