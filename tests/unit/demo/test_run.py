from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from partage.client.services import Answered, Cited, Found, Page, Processed
from partage.client.wire import ChatPiece, ModelInfo
from partage.clock import FakeClock
from partage.demo.outcome import DemoResult, Verdict
from partage.demo.run import Demo, Step
from partage.demo.samples.draw import Sample
from partage.demo.samples.knowledge import MANUAL, POLICY, QUESTIONS
from partage.demo.samples.returns import Return, read_returns
from partage.demo.stack import Stack
from partage.demo.talk import SCRIPT
from partage.errors import DocumentUnreadable, EngineCrashed, EngineError, ModelNotFound, ServiceUnreachable
from partage.json_value import JsonObject, JsonValue
from partage.work import Message, Usage

KNOWLEDGE = [Path(POLICY), Path(MANUAL)]


def sample(return_: Return) -> Sample:
    suffix = ".jpg" if return_.medium == "photo" else ".pdf"
    return Sample(
        path=Path(return_.name + suffix),
        kind=return_.medium,
        media_type="application/pdf",
        pages=1,
        language=return_.language,
        truth=return_.expected(),
    )


SAMPLES = [sample(return_) for return_ in read_returns()]


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (*(sample.path for sample in SAMPLES), *KNOWLEDGE):
        path.write_bytes(b"words")


@dataclass
class FakeHub:
    """Answers with two tokens, 0.2 s to the first and 0.1 s to the next, on the test's clock."""

    clock: FakeClock
    fails: bool = False
    loaded: list[str] = field(default_factory=list[str])
    asked: list[tuple[Message, ...]] = field(default_factory=list[tuple[Message, ...]])

    async def models(self) -> list[ModelInfo]:
        chat, embedding = frozenset({"chat"}), frozenset({"embedding"})
        return [
            ModelInfo(name="embedder", details={"parameter_size": "900M"}, capabilities=embedding),
            ModelInfo(name="small", details={"parameter_size": "135M"}, capabilities=chat),
            ModelInfo(name="large", details={"parameter_size": "1.7B"}, capabilities=chat),
        ]

    async def load(self, model: str) -> None:
        self.loaded.append(model)

    async def status(self) -> JsonObject:
        resident: JsonObject = {"model": "large", "devices": ["host"], "estimated_bytes": 10, "measured_bytes": 9}
        return {
            "residents": [resident],
            "devices": [{"id": "host", "budget_bytes": 20, "residents_bytes": 9}],
            "clients": [{"name": "chat"}],
        }

    async def stream_chat(
        self, model: str, messages: Sequence[Message], *, options: Mapping[str, JsonValue] | None = None
    ) -> AsyncGenerator[ChatPiece]:
        self.asked.append(tuple(messages))
        await asyncio.sleep(0)
        if self.fails:
            raise EngineCrashed
        self.clock.advance(0.2)
        yield ChatPiece(text="Good")
        self.clock.advance(0.1)
        yield ChatPiece(text=" day", done=True, usage=Usage(output_tokens=2))


@dataclass
class FakeDocuments:
    """Reads every field as it is printed, but for the documents it is told to spoil."""

    spoilt: Mapping[str, Found] = field(default_factory=dict[str, Found])
    unreadable: str = ""
    at_once: int = 0
    most_at_once: int = 0

    async def process(self, name: str, content: bytes, schema: str) -> Processed:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        for _ in range(3):
            await asyncio.sleep(0)
        self.at_once -= 1
        if Path(name).stem == self.unreadable:
            raise DocumentUnreadable("the PDF is encrypted")
        [truth] = [sample.truth for sample in SAMPLES if sample.path.name == name]
        fields: dict[str, Found] = {name: Found(value) for name, value in truth.items() if value is not None}
        return Processed([Page(1, method="text_layer", seconds=0.01)], fields={**fields, **self.spoilt})


@dataclass
class FakeRag:
    """Knows the answer to a question once the document that it needs is indexed."""

    refuses: str = ""
    indexed: set[str] = field(default_factory=set[str])

    async def add(self, name: str, content: bytes) -> None:
        assert content
        await self.add_pages(name, ())

    async def add_pages(self, name: str, pages: Sequence[str]) -> None:
        await asyncio.sleep(0)
        if name == self.refuses:
            raise EngineError("no embeddings")
        self.indexed.add(name)

    async def remove(self, names: Collection[str]) -> None:
        self.indexed.difference_update(names)

    async def ask(self, question: str) -> Answered:
        [asked] = [known for known in QUESTIONS if known.text == question]
        if asked.document not in self.indexed:
            return Answered("I do not know.")
        cited = Cited(asked.document, page=asked.page or 1, text=asked.fact)
        return Answered(f"It says: {asked.fact}.", [cited])


async def at_once(_seconds: float) -> None:
    await asyncio.sleep(0)


async def run(
    *,
    hub: FakeHub | None = None,
    documents: FakeDocuments | None = None,
    rag: FakeRag | None = None,
    model: str | None = None,
) -> tuple[DemoResult, list[Step]]:
    hub = hub or FakeHub(FakeClock())
    stack = Stack(
        hub=hub,
        admin=hub,
        documents=documents or FakeDocuments(),
        rag=rag or FakeRag(),
        chat_model=model,
        clock=hub.clock,
        sleep=at_once,
    )
    steps: list[Step] = []
    return await Demo(stack, SAMPLES, KNOWLEDGE, steps.append).run(), steps


async def test_good_run_has_no_problems_and_measures_everything():
    result, steps = await run()
    assert result.problems == ()
    assert [document.name for document in result.documents] == [sample.name for sample in SAMPLES]
    assert len(result.questions) == len(QUESTIONS)
    assert result.indexed == len(SAMPLES) + len(KNOWLEDGE)
    assert [resident.measured_bytes for resident in result.residents] == [9]
    assert [device.peak_bytes for device in result.devices] == [9]
    assert Step("documents", len(SAMPLES), len(SAMPLES)) in steps


async def test_first_token_and_speed_are_the_clients_own_measure():
    result, _ = await run()
    turn = result.chat_alone[0]
    assert (turn.ttft_s, turn.seconds, turn.answer) == (pytest.approx(0.2), pytest.approx(0.3), "Good day")
    assert turn.tokens_per_s == pytest.approx(10)


async def test_chat_alone_is_over_before_the_first_document_is_sent():
    hub = FakeHub(FakeClock())

    class Watching(FakeDocuments):
        async def process(self, name: str, content: bytes, schema: str) -> Processed:
            assert len(hub.asked) >= len(SCRIPT)
            return await super().process(name, content, schema)

    result, _ = await run(hub=hub, documents=Watching())
    assert len(result.chat_alone) == len(SCRIPT)
    assert result.chat_beside


async def test_conversation_carries_what_was_said_before():
    hub = FakeHub(FakeClock())
    await run(hub=hub)
    roles = [message.role for message in hub.asked[1]]
    assert roles == ["system", "user", "assistant", "user"]


async def test_largest_chat_model_is_chosen_and_an_embedder_is_none():
    hub = FakeHub(FakeClock())
    assert (await run(hub=hub))[0].chat_model == "large"
    assert hub.loaded == ["large"]
    assert (await run(model="small"))[0].chat_model == "small"


async def test_hub_without_a_chat_model_is_told_at_once():
    class Empty(FakeHub):
        async def models(self) -> list[ModelInfo]:
            return []

    with pytest.raises(ModelNotFound):
        await run(hub=Empty(FakeClock()))


async def test_documents_are_sent_a_few_at_a_time():
    documents = FakeDocuments()
    await run(documents=documents)
    assert documents.most_at_once == 3


async def test_document_that_cannot_be_read_is_reported_and_the_others_go_on():
    result, _ = await run(documents=FakeDocuments(unreadable="03-dealer-sheet"))
    assert result.problems == ("03-dealer-sheet: not processed: the PDF is encrypted",)


async def test_invented_value_in_a_text_layer_is_a_problem():
    result, _ = await run(documents=FakeDocuments(spoilt={"serial_number": Found("X-1")}))
    by_name = {document.name: document for document in result.documents}
    assert by_name["05-packing-slip"].count(Verdict.INVENTED) == 1
    assert "05-packing-slip: serial_number is invented: read 'X-1', printed None" in result.problems


async def test_file_that_is_not_indexed_does_not_hold_its_questions_back():
    result, _ = await run(rag=FakeRag(refuses=MANUAL))
    assert f"{MANUAL}: not indexed: no embeddings" in result.problems
    assert [question.cited for question in result.questions] == [question.document != MANUAL for question in QUESTIONS]


async def test_chat_that_fails_beside_documents_is_not_asked_again():
    result, _ = await run(hub=FakeHub(FakeClock(), fails=True))
    assert len(result.chat_beside) == 1
    assert len(result.chat_alone) == len(SCRIPT)
    assert result.exit_code == 1


async def test_index_is_left_with_the_users_own_documents_only():
    rag = FakeRag(indexed={"the user's own.md", MANUAL})
    result, _ = await run(rag=rag)
    assert result.indexed == len(SAMPLES) + len(KNOWLEDGE)
    assert rag.indexed == {"the user's own.md"}


async def test_rag_service_that_dies_in_the_run_costs_no_more_than_its_part():
    class Dying(FakeRag):
        removals = 0

        async def remove(self, names: Collection[str]) -> None:
            self.removals += 1
            if self.removals > 1:
                raise ServiceUnreachable

    result, _ = await run(rag=Dying())
    assert len(result.documents) == len(SAMPLES)
    [problem] = result.problems
    assert problem.startswith("the index was not cleaned up")
