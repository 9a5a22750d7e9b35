from __future__ import annotations

import asyncio
import contextlib

import pytest

from partage.engine.base import Engine, Loaded
from partage.engine.fake import Behaviour, FakeEngine, FakeTime, settle
from partage.errors import EngineCrashed, EngineOutOfMemory, EngineStartFailed
from partage.work import ChatWork, Delta, Done, EmbedWork, Message, Output, PromptProgress, Sampling, Vectors, Work


def chat(text: str = "good morning", max_tokens: int | None = None) -> ChatWork:
    return ChatWork(messages=(Message(role="user", content=text),), sampling=Sampling(max_tokens=max_tokens))


async def outputs_of(engine: Engine, work: Work) -> list[Output]:
    async with contextlib.aclosing(engine.stream(work)) as stream:
        return [output async for output in stream]


async def test_answer_ends_with_done_and_counts_its_tokens():
    engine = FakeEngine(Behaviour(answer=("a", "b", "c")))
    await engine.start()
    outputs = await outputs_of(engine, chat())
    assert [output.text for output in outputs if isinstance(output, Delta)] == ["a", "b", "c"]
    assert isinstance(outputs[-1], Done)
    assert (outputs[-1].finish_reason, outputs[-1].usage.output_tokens) == ("stop", 3)
    assert outputs[-1].usage.prompt_tokens == 2


async def test_max_tokens_cuts_the_answer_with_reason_length():
    engine = FakeEngine(Behaviour(answer=("a", "b"), repeat_answer=True))
    await engine.start()
    outputs = await outputs_of(engine, chat(max_tokens=5))
    assert [output.text for output in outputs if isinstance(output, Delta)] == ["a", "b", "a", "b", "a"]
    assert isinstance(outputs[-1], Done)
    assert outputs[-1].finish_reason == "length"


async def test_loading_takes_the_scripted_time_and_no_real_time():
    time = FakeTime()
    engine = FakeEngine(Behaviour(load_s=3600), sleep=time.sleep)
    async with asyncio.TaskGroup() as group:
        starting: asyncio.Task[Loaded] = group.create_task(engine.start())
        await time.advance(3599)
        assert not starting.done()
        await time.advance(1)
        assert starting.done()


async def test_tokens_come_at_the_scripted_rate():
    time = FakeTime()
    engine = FakeEngine(Behaviour(tokens_per_s=10, answer=("x",) * 20), sleep=time.sleep)
    await engine.start()
    async with asyncio.TaskGroup() as group:
        answering = group.create_task(outputs_of(engine, chat()))
        await time.advance(1.05)
        assert engine.tokens_made == 10
        await time.advance(1)
        assert answering.done()


async def test_stop_during_start_makes_start_fail():
    time = FakeTime()
    engine = FakeEngine(Behaviour(load_s=60), sleep=time.sleep)
    async with asyncio.TaskGroup() as group:
        starting = group.create_task(_expect_start_failure(engine))
        await settle()
        await engine.stop(1.0)
        await starting
    assert (await engine.wait_gone()).asked_for


async def _expect_start_failure(engine: Engine) -> None:
    with pytest.raises(EngineStartFailed):
        await engine.start()


async def test_crash_reaches_every_stream_and_is_not_called_asked_for():
    time = FakeTime()
    engine = FakeEngine(Behaviour(tokens_per_s=1, slots=2), sleep=time.sleep)
    await engine.start()

    async def expect_crash() -> None:
        with pytest.raises(EngineCrashed):
            await outputs_of(engine, chat())

    async with asyncio.TaskGroup() as group:
        group.create_task(expect_crash())
        group.create_task(expect_crash())
        await time.advance(2.5)
        assert engine.streaming == 2
        engine.crash()
    exit_ = await engine.wait_gone()
    assert (exit_.asked_for, exit_.returncode) == (False, -9)
    assert engine.streaming == 0


async def test_scripted_crash_comes_after_so_many_tokens():
    engine = FakeEngine(Behaviour(crash_after_tokens=3))
    await engine.start()
    stream = engine.stream(chat())
    before = [await anext(stream) for _ in range(3)]
    assert [type(output) for output in before] == [PromptProgress, Delta, Delta]
    with pytest.raises(EngineCrashed):
        await anext(stream)


async def test_out_of_memory_is_a_start_failure_of_its_own_kind():
    engine = FakeEngine(Behaviour(out_of_memory=True))
    with pytest.raises(EngineOutOfMemory):
        await engine.start()
    assert not (await engine.wait_gone()).asked_for


async def test_start_failure_carries_the_scripted_reason():
    with pytest.raises(EngineStartFailed, match="no such file"):
        await FakeEngine(Behaviour(start_failure="no such file")).start()


async def test_embeddings_are_stable_unit_vectors_of_the_scripted_width():
    engine = FakeEngine(Behaviour(vector_width=8))
    await engine.start()
    [first] = await outputs_of(engine, EmbedWork(inputs=("a", "b", "a")))
    assert isinstance(first, Vectors)
    assert [len(vector) for vector in first.vectors] == [8, 8, 8]
    assert first.vectors[0] == first.vectors[2] != first.vectors[1]
    assert sum(x * x for x in first.vectors[0]) == pytest.approx(1.0)


async def test_leaving_a_stream_frees_its_slot():
    engine = FakeEngine()
    await engine.start()
    async with contextlib.aclosing(engine.stream(chat())) as stream:
        await anext(stream)
        assert engine.streaming == 1
    assert engine.streaming == 0


async def test_paused_engine_is_silent_and_goes_on_where_it_was():
    time = FakeTime()
    engine = FakeEngine(Behaviour(answer=("a", "b", "c"), tokens_per_s=1.0), time.sleep)
    await engine.start()
    texts: list[str] = []

    async def read() -> None:
        texts.extend([output.text for output in await outputs_of(engine, chat()) if isinstance(output, Delta)])

    reading = asyncio.create_task(read())
    await time.advance(1.5)
    engine.pause()
    await time.advance(100.0)
    assert engine.tokens_made == 1
    engine.resume()
    await time.advance(2.0)
    await reading
    assert texts == ["a", "b", "c"]


async def test_paused_engine_can_be_stopped():
    engine = FakeEngine()
    await engine.start()
    engine.pause()
    await engine.stop(1.0)
    assert (await engine.wait_gone()).asked_for
