"""Answers a question from the documents, with citations; right even where the chat model is tiny, or away."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

from partage.client.wire import ModelInfo
from partage.clock import Clock
from partage.errors import ModelNotFound, PartageError, Unsupported
from partage.rag import compose
from partage.rag.compose import Candidate
from partage.rag.hub import Hub
from partage.rag.search import Found, Hit, cosine
from partage.rag.settings import RagSettings
from partage.rag.store import EVERYWHERE, Only
from partage.work import Message

MAX_SENTENCES = 32  # that are compared with the question: one batch of embeddings
TINY_BYTES = 900_000_000  # where the hub does not say how many weights a model has
TINY_TOKENS = 64
ANSWER_TOKENS = 512


@dataclass(frozen=True, slots=True)
class Citation:
    number: int
    """As cited in the answer: [1]."""
    document: str
    document_id: str
    page: int
    start: int
    end: int
    """[start, end) in the page's text, which is `text`."""
    text: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    text: str
    citations: tuple[Citation, ...] = ()
    supported: bool = True
    """False: the documents do not answer it, or not what the model said."""
    degraded: bool = False
    """The chat model was away; the answer is the passages alone."""
    why_degraded: str = ""
    model: str | None = None
    search_s: float = 0.0
    chat_s: float = 0.0
    total_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Piece:
    """Text of an answer on its way; what counts is the Answer at the end, where citations are checked."""

    text: str


Step: TypeAlias = Piece | Answer


class Finder(Protocol):
    """search.Search, or a test's."""

    async def find(self, question: str, limit: int, only: Only = EVERYWHERE) -> Found: ...

    async def embed(self, texts: Sequence[str]) -> list[list[float]]: ...


class Answers:
    def __init__(self, hub: Hub, search: Finder, settings: RagSettings, clock: Clock) -> None:
        self._hub = hub
        self._search = search
        self._settings = settings
        self._clock = clock

    async def answer(
        self, question: str, limit: int, model: str | None = None, only: Only = EVERYWHERE
    ) -> AsyncGenerator[Step]:
        """Yield pieces, last the answer. Raises what Search raises, and ModelNotFound for a `model` nobody has.

        1. no passage speaks of the question: say so, ask no model;
        2. the chat model is away: the best sentences, degraded;
        3. it is tiny: the best sentences, then what the model says, if it invents no number;
        4. else the model answers from the passages, and what it cites is checked.
        """
        began_s = self._clock.now_s()
        # A name that nobody has is the caller's mistake, and said before anything else is done.
        asked = await self._choose(model) if model is not None else None
        found = await self._search.find(question, limit, only)
        searched_s = self._clock.now_s()

        def timed(answer: Answer) -> Answer:
            now_s = self._clock.now_s()
            return replace(answer, search_s=searched_s - began_s, chat_s=now_s - searched_s, total_s=now_s - began_s)

        if not compose.supported(question, found.hits):
            citations = tuple(_passage(number, hit) for number, hit in enumerate(found.hits, start=1))
            nothing = compose.NO_PASSAGES if found.hits or only != EVERYWHERE else compose.NO_DOCUMENTS
            yield timed(Answer(text=nothing, citations=citations, supported=False))
            return
        quotes = await self._quotes(question, found)
        deadline_s = began_s + self._settings.query_timeout_s
        try:
            chosen = asked or await self._choose(self._settings.chat_model)
            write = self._after_quotes if self._is_tiny(chosen) else self._written
            async with aclosing(write(question, found.hits, quotes, chosen.name, deadline_s)) as steps:
                async for step in steps:
                    yield timed(step) if isinstance(step, Answer) else step
        except PartageError as error:
            yield timed(replace(_quoting(quotes, found.hits), degraded=True, why_degraded=error.message))

    async def _after_quotes(
        self, question: str, hits: Sequence[Hit], quotes: Sequence[Candidate], model: str, deadline_s: float
    ) -> AsyncGenerator[Step]:
        yield Piece(compose.quoted(quotes))
        said = "".join(
            [text async for text in self._chat(model, compose.tiny_prompt(question, quotes), TINY_TOKENS, deadline_s)]
        )
        sentence = compose.first_sentence(said)
        if not compose.trusted(sentence, question, quotes):
            yield _quoting(quotes, hits, model=model)
            return
        yield Piece(f"\n\n{sentence}")
        yield _quoting(quotes, hits, model=model, sentence=sentence)

    async def _written(
        self, question: str, hits: Sequence[Hit], quotes: Sequence[Candidate], model: str, deadline_s: float
    ) -> AsyncGenerator[Step]:
        text = ""
        async with aclosing(self._chat(model, compose.prompt(question, hits), ANSWER_TOKENS, deadline_s)) as pieces:
            async for piece in pieces:
                text += piece
                yield Piece(piece)
        answer = compose.checked(text, len(hits))
        if answer.cited and compose.NOT_FOUND not in answer.text:
            citations = tuple(_passage(number, hits[number - 1]) for number in answer.cited)
            yield Answer(text=answer.text, citations=citations, model=model)
            return
        lead = compose.NOT_ANSWERED if compose.NOT_FOUND in answer.text else compose.UNSUPPORTED
        yield replace(_quoting(quotes, hits, model=model, lead=lead), supported=False)

    async def _chat(
        self, model: str, messages: Sequence[Message], max_tokens: int, deadline_s: float
    ) -> AsyncGenerator[str]:
        left_s = max(0.1, deadline_s - self._clock.now_s())
        options = {"temperature": 0, "num_predict": max_tokens}
        async with aclosing(self._hub.stream_chat(model, messages, options=options, timeout_s=left_s)) as pieces:
            async for piece in pieces:
                if piece.text:
                    yield piece.text

    async def _quotes(self, question: str, found: Found) -> list[Candidate]:
        among = compose.candidates(found.hits)[:MAX_SENTENCES]
        try:
            vectors = await self._search.embed([one.text for one in among])
        except PartageError:
            vectors = []  # the words alone decide then
        similarities = {index: cosine(found.vector, vector) for index, vector in enumerate(vectors)}
        return compose.best(question, among, similarities, found.hits)

    async def _choose(self, name: str | None) -> ModelInfo:
        models = await self._hub.models()
        if name is not None:
            named = next((model for model in models if model.name in {name, f"{name}:latest"}), None)
            if named is None:
                raise ModelNotFound(name)
            if not named.can_chat:
                raise Unsupported(f"{name} cannot chat; name a chat model, or none")
            return named
        models = [model for model in models if model.can_chat]
        if not models:
            raise PartageError("the hub has no chat model; get one: partage pull smollm2:135m")
        return max(models, key=lambda model: (model.parameters or 0.0, model.size_bytes))

    def _is_tiny(self, model: ModelInfo) -> bool:
        if model.parameters is None:
            return model.size_bytes < TINY_BYTES
        return model.parameters < self._settings.tiny_parameters


def _quoting(
    quotes: Sequence[Candidate],
    hits: Sequence[Hit],
    *,
    model: str | None = None,
    lead: str = "",
    sentence: str = "",
) -> Answer:
    text = "\n".join(filter(None, [lead, compose.quoted(quotes)])) + (f"\n\n{sentence}" if sentence else "")
    return Answer(
        text=text,
        citations=tuple(_sentence(quote, hits[quote.number - 1]) for quote in quotes),
        model=model,
    )


def _sentence(quote: Candidate, hit: Hit) -> Citation:
    passage = hit.passage
    return Citation(
        quote.number, passage.document, passage.document_id, passage.page, quote.start, quote.end, quote.text, hit.score
    )


def _passage(number: int, hit: Hit) -> Citation:
    passage = hit.passage
    return Citation(
        number,
        passage.document,
        passage.document_id,
        passage.page,
        passage.start,
        passage.end,
        passage.text,
        hit.score,
    )
