from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from partage.client.wire import ChatPiece, ModelInfo
from partage.clock import FakeClock
from partage.errors import EngineCrashed, EngineTimedOut, ModelNotFound, PartageError, Unsupported
from partage.json_value import JsonValue
from partage.rag.answer import Answer, Answers, Piece
from partage.rag.chunk import chunk_pages
from partage.rag.search import Found, Hit
from partage.rag.settings import RagSettings
from partage.rag.store import EVERYWHERE, Only, Passage
from partage.work import Message

PAGE = "Goods may be sent back within 30 days of delivery. The parcel must carry the RMA number on its outside."
QUESTION = "Within how many days may goods be sent back?"

EMBEDDER = ModelInfo(name="all-minilm:22m", capabilities=frozenset({"embedding"}))
TINY = ModelInfo(name="tiny:135m", capabilities=frozenset({"completion"}), details={"parameter_size": "135M"})
BIG = ModelInfo(name="big:latest", capabilities=frozenset({"chat"}), details={"parameter_size": "8B"})
UNKNOWN = ModelInfo(name="unknown:latest", capabilities=frozenset({"chat"}), size_bytes=5_000_000_000)


@dataclass
class FakeHub:
    """Chats word by word, each taking half a second; may fail after so many words."""

    clock: FakeClock
    has: list[ModelInfo]
    says: str = ""
    fails: PartageError | None = None
    fails_after_words: int = 0
    asked: list[tuple[str, Sequence[Message], float | None]] = field(
        default_factory=list[tuple[str, Sequence[Message], float | None]]
    )

    async def models(self) -> list[ModelInfo]:
        return self.has

    async def embed(self, model: str, inputs: Sequence[str], *, timeout_s: float | None = None) -> list[list[float]]:
        raise AssertionError("the search embeds")

    async def stream_chat(
        self,
        model: str,
        messages: Sequence[Message],
        *,
        options: Mapping[str, JsonValue] | None = None,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[ChatPiece]:
        self.asked.append((model, messages, timeout_s))
        for index, word in enumerate(self.says.split(" ")):
            if self.fails is not None and index == self.fails_after_words:
                raise self.fails
            self.clock.advance(0.5)
            yield ChatPiece(text=f"{word} ")
        yield ChatPiece(done=True)


@dataclass
class FakeSearch:
    """Finds every chunk of its page, alike; its embeddings time out, so that words decide."""

    page: str
    clock: FakeClock

    async def find(self, question: str, limit: int, only: Only = EVERYWHERE) -> Found:
        self.clock.advance(2)
        hits = [
            Hit(
                Passage(
                    id=str(chunk.start),
                    document_id="d1",
                    document="policy.md",
                    page=chunk.page,
                    start=chunk.start,
                    end=chunk.end,
                    text=chunk.text,
                    heading="",
                    vector=[1.0],
                ),
                1.0,
                0.1,
            )
            for chunk in chunk_pages([self.page])
        ]
        return Found([1.0], hits[:limit])

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        raise EngineTimedOut


def asking(*has: ModelInfo, says: str = "", fails: PartageError | None = None, after: int = 0, page: str = PAGE):
    clock = FakeClock()
    hub = FakeHub(clock, [EMBEDDER, *has], says, fails, after)
    settings = RagSettings(data_dir=Path("unused"))
    return Answers(hub, FakeSearch(page, clock), settings, clock), hub


async def answer_of(answers: Answers, model: str | None = None, question: str = QUESTION) -> tuple[str, Answer]:
    *pieces, answer = [step async for step in answers.answer(question, 5, model)]
    assert isinstance(answer, Answer)
    return "".join(piece.text for piece in pieces if isinstance(piece, Piece)), answer


async def test_tiny_model_only_adds_to_the_quoted_sentence():
    answers, hub = asking(TINY, says="You have 30 days. I am happy to help.")
    streamed, answer = await answer_of(answers)
    assert answer.text == "Goods may be sent back within 30 days of delivery. [1]\n\nYou have 30 days."
    assert streamed == answer.text
    [citation] = answer.citations
    assert (citation.number, citation.document, citation.page) == (1, "policy.md", 1)
    assert PAGE[citation.start : citation.end] == citation.text
    assert (answer.supported, answer.degraded, answer.model) == (True, False, "tiny:135m")
    [(_, _, timeout_s)] = hub.asked
    assert timeout_s == 28  # of the query's 30 s, searching took 2


async def test_number_a_tiny_model_invents_is_left_out():
    answers, _ = asking(TINY, says="You have 45 days.")
    _, answer = await answer_of(answers)
    assert answer.text == "Goods may be sent back within 30 days of delivery. [1]"


async def test_largest_chat_model_writes_and_cites():
    answers, hub = asking(TINY, BIG, says="Within 30 days [1][3].")
    _, answer = await answer_of(answers)
    assert hub.asked[0][0] == "big:latest"
    assert answer.text == "Within 30 days [1]."
    assert [citation.text for citation in answer.citations] == [PAGE]


async def test_model_of_unknown_but_large_size_is_trusted_to_write():
    answers, _ = asking(UNKNOWN, says="Within 30 days [1].")
    _, answer = await answer_of(answers)
    assert answer.text == "Within 30 days [1]."


async def test_answer_without_a_real_citation_is_not_given_as_one():
    answers, _ = asking(BIG, says="About half a year, I think [9].")
    _, answer = await answer_of(answers)
    assert not answer.supported
    assert "half a year" not in answer.text
    assert answer.text.endswith("Goods may be sent back within 30 days of delivery. [1]")


async def test_model_that_finds_no_answer_is_believed():
    answers, _ = asking(BIG, says="NOT FOUND")
    _, answer = await answer_of(answers)
    assert not answer.supported
    assert answer.text.startswith("The documents do not answer this.")
    assert answer.citations


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("model", [TINY, BIG])
async def test_model_that_fails_leaves_the_passages_as_the_answer(model: ModelInfo, after: int):
    answers, _ = asking(model, says="Within 30 days [1].", fails=EngineCrashed("it ended"), after=after)
    _, answer = await answer_of(answers)
    assert answer.text == "Goods may be sent back within 30 days of delivery. [1]"
    assert (answer.degraded, answer.why_degraded, answer.supported) == (True, "it ended", True)


async def test_hub_without_a_chat_model_still_gets_an_answer_and_the_hint():
    answers, _ = asking()
    _, answer = await answer_of(answers)
    assert answer.degraded
    assert "partage pull" in answer.why_degraded


async def test_model_the_caller_names_must_exist_and_is_used():
    answers, hub = asking(TINY, BIG, says="You have 30 days.")
    with pytest.raises(ModelNotFound, match="nobody"):
        await answer_of(answers, "nobody")
    with pytest.raises(Unsupported, match="cannot chat"):
        await answer_of(answers, "all-minilm:22m")
    await answer_of(answers, "tiny:135m")
    assert hub.asked[0][0] == "tiny:135m"
    _, answer = await answer_of(answers, "big")
    assert answer.model == "big:latest"


async def test_question_no_passage_speaks_of_is_answered_so_without_a_model():
    answers, hub = asking(BIG)
    _, answer = await answer_of(answers, question="Who won yesterday?")
    assert (answer.text, answer.supported) == ("The documents say nothing about this.", False)
    assert hub.asked == []


async def test_question_before_any_document_says_how_to_take_one_in():
    answers, _ = asking(BIG, page="")
    _, answer = await answer_of(answers)
    assert "partage ingest" in answer.text
    assert not answer.supported


async def test_timings_add_up():
    answers, _ = asking(TINY, says="one two")
    _, answer = await answer_of(answers)
    assert (answer.search_s, answer.chat_s, answer.total_s) == (2.0, 1.0, 3.0)
