"""Runs the RMA demo through a running hub: chat alone, then documents, chat and questions all at once, all of it measured."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from partage.client.services import Found, Processed
from partage.demo.outcome import (
    Citation,
    DemoResult,
    DevicePeak,
    DocumentOutcome,
    FieldRead,
    PageRead,
    QuestionOutcome,
    Turn,
)
from partage.demo.samples.draw import Sample, draw_samples
from partage.demo.samples.knowledge import QUESTIONS, Question, knowledge_files
from partage.demo.samples.returns import FIELDS, Value
from partage.demo.score import is_answered, is_cited, judge
from partage.demo.stack import Endpoints, Hub, Stack, open_stack
from partage.demo.status import Status, all_residents, peak_bytes, read_status
from partage.demo.talk import SCRIPT, converse
from partage.errors import ModelNotFound, PartageError

DOCUMENTS_AT_ONCE = 3
"""More than the document service works on at a time, so that it never waits for the demo; not so many that they queue."""
PAUSE_S = 0.4
"""Between an answer in the chat and the next question: people read, and models that are never idle prove nothing."""
SAMPLE_EVERY_S = 0.5
SCHEMA = "rma"


Phase: TypeAlias = Literal["samples", "chat alone", "documents", "questions"]


@dataclass(frozen=True, slots=True)
class Step:
    """So many of so many are done in one phase; phases run at once."""

    phase: Phase
    done: int
    total: int


OnStep: TypeAlias = Callable[[Step], None]


async def run(endpoints: Endpoints, *, out: Path | None = None, on_step: OnStep | None = None) -> DemoResult:
    """Do everything and report it; what failed is in the result. `out`: where the samples are left; None: nowhere.

    Raises HubUnreachable or ServiceUnreachable where nothing answers, and ModelNotFound where there is no chat model.
    """
    async with AsyncExitStack() as held:
        directory = out or Path(held.enter_context(tempfile.TemporaryDirectory(prefix="partage-demo-")))
        stack = await held.enter_async_context(open_stack(endpoints))
        on_step = on_step or (lambda _: None)
        on_step(Step("samples", 0, 1))
        samples = await asyncio.to_thread(draw_samples, directory)
        knowledge = await asyncio.to_thread(knowledge_files, directory)
        on_step(Step("samples", 1, 1))
        return await Demo(stack, samples, knowledge, on_step).run()


class Demo:
    """One run: the stack, the samples, and what has been measured so far."""

    def __init__(self, stack: Stack, samples: Sequence[Sample], knowledge: Sequence[Path], on_step: OnStep) -> None:
        self._stack = stack
        self._clock = stack.clock
        self._samples, self._knowledge = samples, knowledge
        self._on_step = on_step
        self._names = (*(path.name for path in knowledge), *(sample.name for sample in samples))
        self._indexed = {name: asyncio.Event() for name in self._names}
        self._indexed_count = 0
        self._documents: dict[str, DocumentOutcome] = {}
        self._documents_s = 0.0
        self._all_read = asyncio.Event()
        self._beside: list[Turn] = []
        self._questions: list[QuestionOutcome] = []
        self._seen: list[Status] = []
        self._errors: list[str] = []

    async def run(self) -> DemoResult:
        start_s = self._clock.now_s()
        # Left by a run that was killed, they would not be embedded again, and nothing would be measured.
        await self._stack.rag.remove(self._names)
        model = self._stack.chat_model or await largest_chat_model(self._stack.hub)
        await self._stack.hub.load(model)
        alone = await self._talk_alone(model)
        async with asyncio.TaskGroup() as watching:
            watch = watching.create_task(self._watch())
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._talk_beside(model))
                tasks.create_task(self._read_documents())
                tasks.create_task(self._index_knowledge())
                tasks.create_task(self._ask_questions())
            watch.cancel()
        await self._look()
        try:
            await self._stack.rag.remove(self._names)
        except PartageError as error:
            self._errors.append(f"the index was not cleaned up: {error.message}")
        last = self._seen[-1] if self._seen else Status()
        return DemoResult(
            seconds=self._clock.now_s() - start_s,
            chat_model=model,
            chat_alone=alone,
            chat_beside=tuple(self._beside),
            documents=tuple(self._documents[sample.name] for sample in self._samples),
            documents_s=self._documents_s,
            indexed=self._indexed_count,
            questions=tuple(self._questions),
            residents=tuple(all_residents(self._seen)),
            clients=tuple(last.clients),
            devices=tuple(
                DevicePeak(
                    device=device.id,
                    name=device.name,
                    peak_bytes=peak_bytes(device.id, self._seen),
                    budget_bytes=device.budget_bytes,
                )
                for device in last.devices
            ),
            errors=tuple(self._errors),
        )

    async def _talk_alone(self, model: str) -> tuple[Turn, ...]:
        turns: list[Turn] = []
        async for turn in converse(self._stack.hub, model, self._clock):
            turns.append(turn)
            self._on_step(Step("chat alone", len(turns), len(SCRIPT)))
            await self._stack.sleep(PAUSE_S)
        return tuple(turns)

    async def _talk_beside(self, model: str) -> None:
        """Hold the same conversation over and over; a turn counts when it begins before the last document is read."""
        while not self._all_read.is_set():
            async with aclosing(converse(self._stack.hub, model, self._clock)) as turns:
                while not self._all_read.is_set() and (turn := await anext(turns, None)) is not None:
                    self._beside.append(turn)
                    if turn.error is not None:
                        return  # one failure is enough to fail the run
                    await self._stack.sleep(PAUSE_S)

    async def _read_documents(self) -> None:
        start_s = self._clock.now_s()
        at_once = asyncio.Semaphore(DOCUMENTS_AT_ONCE)
        async with asyncio.TaskGroup() as indexing:
            async with asyncio.TaskGroup() as reading:
                # What has a text layer is read in no time and should not stand in line behind scans.
                for sample in sorted(self._samples, key=lambda sample: sample.kind != "text"):
                    reading.create_task(self._read_document(sample, at_once, indexing))
            self._documents_s = self._clock.now_s() - start_s
            self._all_read.set()

    async def _read_document(self, sample: Sample, at_once: asyncio.Semaphore, indexing: asyncio.TaskGroup) -> None:
        async with at_once:
            start_s = self._clock.now_s()
            try:
                content = await asyncio.to_thread(sample.path.read_bytes)
                processed = await self._stack.documents.process(sample.path.name, content, SCHEMA)
            except PartageError as error:
                outcome = DocumentOutcome(
                    name=sample.name, kind=sample.kind, seconds=self._clock.now_s() - start_s, error=error.message
                )
                self._indexed[sample.name].set()
            else:
                outcome = scored(sample, processed, self._clock.now_s() - start_s)
                pages = [page.text for page in processed.pages]
                indexing.create_task(self._index(sample.name, self._stack.rag.add_pages(sample.name, pages)))
        self._documents[sample.name] = outcome
        self._on_step(Step("documents", len(self._documents), len(self._samples)))

    async def _index_knowledge(self) -> None:
        async with asyncio.TaskGroup() as indexing:
            for path in self._knowledge:
                content = await asyncio.to_thread(path.read_bytes)
                indexing.create_task(self._index(path.name, self._stack.rag.add(path.name, content)))

    async def _index(self, name: str, adding: Awaitable[None]) -> None:
        try:
            await adding
        except PartageError as error:
            self._errors.append(f"{name}: not indexed: {error.message}")
        else:
            self._indexed_count += 1
        finally:
            self._indexed[name].set()

    async def _ask_questions(self) -> None:
        for question in QUESTIONS:
            await self._indexed[question.document].wait()
            self._questions.append(await self._ask(question))
            self._on_step(Step("questions", len(self._questions), len(QUESTIONS)))

    async def _ask(self, question: Question) -> QuestionOutcome:
        start_s = self._clock.now_s()
        expected = question.document if question.page is None else f"{question.document} page {question.page}"
        try:
            answered = await self._stack.rag.ask(question.text)
        except PartageError as error:
            return QuestionOutcome(question=question.text, expected=expected, error=error.message)
        answer = answered.answer
        citations = tuple(Citation(cited.document, cited.page, cited.text) for cited in answered.citations)
        return QuestionOutcome(
            question=question.text,
            expected=expected,
            answer=answer,
            citations=citations,
            cited=is_cited(question, citations),
            answered=is_answered(question, answer),
            seconds=self._clock.now_s() - start_s,
        )

    async def _watch(self) -> None:
        while True:
            await self._look()
            await self._stack.sleep(SAMPLE_EVERY_S)

    async def _look(self) -> None:
        try:
            self._seen.append(read_status(await self._stack.admin.status()))
        except PartageError as error:
            message = f"the hub's status could not be read: {error.message}"
            if message not in self._errors:
                self._errors.append(message)


async def largest_chat_model(hub: Hub) -> str:
    models = [model for model in await hub.models() if model.can_chat]
    if not models:
        raise ModelNotFound("smollm2:135m")
    return max(models, key=lambda model: model.parameters or model.size_bytes).name


def scored(sample: Sample, processed: Processed, seconds: float) -> DocumentOutcome:
    return DocumentOutcome(
        name=sample.name,
        kind=sample.kind,
        pages=tuple(PageRead(page.number, page.method, page.seconds) for page in processed.pages),
        fields=tuple(
            FieldRead(
                field=name,
                read=_plain(read.value),
                truth=sample.truth[name],
                verdict=judge(_plain(read.value), sample.truth[name]),
                page=read.page,
                confidence=read.confidence,
            )
            for name in FIELDS
            for read in (processed.fields.get(name, Found()),)
        ),
        seconds=seconds,
    )


def _plain(value: object) -> Value:
    return value if isinstance(value, str | int | float | None) else str(value)
