from __future__ import annotations

import asyncio
import errno
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import replace
from typing import NoReturn, Protocol

import pytest

from partage.clock import FakeClock
from partage.domain import Client, Request
from partage.engine.fake import FakeEngine, settle
from partage.errors import (
    CannotFit,
    EngineCrashed,
    EngineStartFailed,
    ModelNotFound,
    QueueFull,
    QuotaExceeded,
    ShuttingDown,
    Unauthorized,
    Unsupported,
)
from partage.hub.clients import Clients, KnownClient
from partage.hub.weighing import Weigher
from partage.policy.events import UnloadAsked
from partage.policy.settings import PolicySettings
from partage.work import Delta, Done, Output, Vectors, Work

from .conftest import CHAT, EMBED, MIB, House, chat, text_of


class OpenHouse(Protocol):
    def __call__(
        self,
        *,
        memory_bytes: int = ...,
        cores: int = ...,
        settings: PolicySettings | None = ...,
        known: dict[str, KnownClient] | None = ...,
    ) -> AbstractAsyncContextManager[House]: ...


async def test_a_request_loads_its_model_and_is_answered_with_true_times(open_house: OpenHouse):
    async with open_house() as house, asyncio.TaskGroup() as tasks:
        ticket = house.admit(CHAT)
        answer = tasks.create_task(text_of(ticket))
        await house.time.advance(10)
        assert await answer == "Hello from the fake"
        assert ticket.timing.load_s == pytest.approx(1.0)
        assert ticket.timing.queued_s == pytest.approx(1.0)
        assert ticket.timing.first_output_s == pytest.approx(1.1, abs=0.01)
        assert ticket.timing.total_s == pytest.approx(1.4, abs=0.01)


async def test_a_resident_model_is_not_loaded_again(open_house: OpenHouse):
    async with open_house() as house, asyncio.TaskGroup() as tasks:
        tasks.create_task(text_of(house.admit(CHAT)))
        await house.time.advance(10)
        second = house.admit(CHAT)
        tasks.create_task(text_of(second))
        await house.time.advance(10)
        assert house.started() == [CHAT]
        assert second.timing.load_s == 0


async def test_no_more_requests_run_side_by_side_than_there_are_slots(open_house: OpenHouse):
    async with open_house() as house, asyncio.TaskGroup() as tasks:
        for _ in range(7):
            tasks.create_task(text_of(house.admit(CHAT)))
        await house.time.advance(60)
        ((_, engine),) = house.engines
        assert engine.most_streaming == 2
        assert len(engine.works) == 7


async def test_two_models_that_do_not_fit_together_are_never_held_together_and_both_answer(open_house: OpenHouse):
    async with open_house(memory_bytes=150 * MIB) as house, asyncio.TaskGroup() as tasks:
        answers = [tasks.create_task(text_of(house.admit(name))) for name in (CHAT, EMBED) * 10]
        for _ in range(300):
            await house.time.advance(0.5)
            assert len(house.hub.residents.running) <= 1
        assert all(answer.done() for answer in answers)


async def test_two_busy_models_that_do_not_fit_together_take_turns_of_seconds(open_house: OpenHouse):
    """Clients that ask again at once leave no idle moment, and no event but service itself tells that a turn is over."""
    async with open_house(memory_bytes=150 * MIB) as house, asyncio.TaskGroup() as tasks:
        house.behaviour = replace(house.behaviour, load_s=0.5, tokens_per_s=40, prompt_tokens_per_s=40)
        longest: dict[str, float] = dict.fromkeys((CHAT, EMBED), 0.0)

        async def ask_on_and_on(model: str, name: str) -> None:
            while house.time.now_s() < 30:
                began_s = house.time.now_s()
                await text_of(house.admit(model, client=Client(name=name)))
                longest[model] = max(longest[model], house.time.now_s() - began_s)

        for number in range(16):
            tasks.create_task(ask_on_and_on((CHAT, EMBED)[number % 2], f"client {number}"))
        await house.pass_time(60)
        assert all(0 < wait < 10 for wait in longest.values()), longest


async def test_client_that_leaves_the_queue_never_causes_a_load(open_house: OpenHouse):
    async with open_house(memory_bytes=150 * MIB) as house, asyncio.TaskGroup() as tasks:
        tasks.create_task(text_of(house.admit(CHAT, chat(max_tokens=6))))
        await house.time.advance(1.05)
        waiting = tasks.create_task(text_of(house.admit(EMBED)))
        await settle()
        waiting.cancel()
        await house.time.advance(30)
        assert EMBED not in house.started()


async def test_an_answer_that_is_closed_before_its_first_read_gives_its_place_back(open_house: OpenHouse):
    async with open_house() as house:
        await house.admit(CHAT).stream().aclose()
        await house.time.advance(5)
        assert house.held() == (0, 0)


async def test_a_client_that_leaves_while_served_stops_the_generation_and_frees_the_slot(open_house: OpenHouse):
    async with open_house() as house, asyncio.TaskGroup() as tasks:
        answer = tasks.create_task(text_of(house.admit(CHAT)))
        await house.time.advance(1.15)
        ((_, engine),) = house.engines
        assert engine.streaming == 1
        answer.cancel()
        await settle()
        assert engine.streaming == 0
        assert house.held() == (0, 0)
        assert house.hub.stats.clients["someone"].cancelled == 1


async def test_a_reader_that_has_the_last_piece_holds_no_slot(open_house: OpenHouse):
    async with open_house() as house, asyncio.TaskGroup() as tasks:
        stream = house.admit(EMBED).stream()
        first = tasks.create_task(anext(stream))
        await house.time.advance(5)
        assert isinstance(await first, Vectors)
        assert house.held() == (0, 0)
        await stream.aclose()
        assert house.hub.stats.clients["someone"].done == 1


async def test_a_request_whose_engine_dies_before_its_first_token_is_retried_unseen(open_house: OpenHouse):
    async with open_house() as house, asyncio.TaskGroup() as tasks:
        house.behaviour = replace(house.behaviour, prompt_tokens_per_s=1)
        answer = tasks.create_task(text_of(house.admit(CHAT)))
        await house.time.advance(1.5)
        house.engines[0][1].crash()
        await house.pass_time(60)
        assert await answer == "Hello from the fake"
        assert house.started() == [CHAT, CHAT]


async def test_a_whole_answer_whose_engine_dies_in_the_middle_is_made_anew_unseen(open_house: OpenHouse):
    async with open_house() as house, asyncio.TaskGroup() as tasks:
        house.behaviour = replace(house.behaviour, repeat_answer=True)
        ticket = house.admit(CHAT, chat(max_tokens=78))
        answer = tasks.create_task(text_of(ticket, whole=True))
        await house.time.advance(1.0 + 5.0)  # past the 32 tokens after which progress is told
        house.engines[0][1].crash()
        await house.pass_time(60)
        assert await answer == "Hello from the fake engine." * 13
        assert house.started() == [CHAT, CHAT]
        stats = house.hub.stats.clients["someone"]
        assert ticket.usage is not None
        assert stats.output_tokens == stats.streamed_tokens == ticket.usage.output_tokens == 78
        assert (ticket.timing.first_output_s or 0) > 6.0, "the piece that was dropped was not the first"
        assert house.held() == (0, 0)


async def test_a_whole_answer_that_kills_its_engine_twice_is_an_error_and_kills_no_third(open_house: OpenHouse):
    async with open_house() as house, asyncio.TaskGroup() as tasks:
        house.behaviour = replace(house.behaviour, crash_after_tokens=2)
        answer = tasks.create_task(_outcome(text_of(house.admit(CHAT), whole=True)))
        await house.pass_time(60)
        assert isinstance(await answer, EngineCrashed)
        assert house.started() == [CHAT, CHAT]
        assert house.held() == (0, 0)


@pytest.mark.parametrize(("model", "whole"), [(CHAT, True), (CHAT, False), (EMBED, True)])
async def test_an_engine_that_dies_after_the_last_piece_concerns_nobody_who_has_it(
    open_house: OpenHouse, monkeypatch: pytest.MonkeyPatch, model: str, whole: bool
):
    stream = FakeEngine.stream

    async def and_dies(engine: FakeEngine, work: Work) -> AsyncGenerator[Output]:
        async with aclosing(stream(engine, work)) as outputs:
            async for output in outputs:
                yield output
        engine.crash()
        raise EngineCrashed

    monkeypatch.setattr(FakeEngine, "stream", and_dies)
    async with open_house() as house, asyncio.TaskGroup() as tasks:
        answer = tasks.create_task(text_of(house.admit(model), whole=whole))
        await house.pass_time(20)
        assert answer.done(), "it waits for a turn that it has had"
        await answer
        assert house.hub.stats.clients["someone"].done == 1


async def test_nothing_of_a_whole_answer_is_given_out_before_its_end(open_house: OpenHouse):
    async with open_house() as house, asyncio.TaskGroup() as tasks:
        ticket = house.admit(CHAT)
        read = Counter[type]()

        async def read_on() -> None:
            async for output in ticket.stream(whole=True):
                read[type(output)] += 1

        tasks.create_task(read_on())
        await house.time.advance(1.35)
        assert house.engines[0][1].tokens_made == 3
        assert not read[Delta]
        await house.time.advance(1)
        assert (read[Delta], read[Done]) == (4, 1)


async def test_a_crash_is_a_clear_error_for_the_one_that_was_being_served_and_a_retry_for_the_queued(
    open_house: OpenHouse,
):
    async with open_house() as house, asyncio.TaskGroup() as tasks:
        tickets = [house.admit(CHAT) for _ in range(4)]
        answers = [tasks.create_task(_outcome(text_of(ticket))) for ticket in tickets]
        await house.time.advance(1.25)
        house.engines[0][1].crash()
        await house.pass_time(60)
        outcomes = [await answer for answer in answers]
        assert [isinstance(outcome, EngineCrashed) for outcome in outcomes] == [True, True, False, False]
        assert outcomes[2:] == ["Hello from the fake"] * 2


async def test_an_engine_that_never_starts_is_an_error_for_those_who_wait_and_not_the_end_of_the_hub(
    open_house: OpenHouse,
):
    async with open_house() as house, asyncio.TaskGroup() as tasks:
        house.behaviour = replace(house.behaviour, start_failure="bad magic")
        answer = tasks.create_task(_outcome(text_of(house.admit(CHAT))))
        await house.pass_time(200)
        outcome = await answer
        assert isinstance(outcome, EngineStartFailed)
        assert "bad magic" in outcome.message
        house.behaviour = replace(house.behaviour, start_failure="")
        again = tasks.create_task(text_of(house.admit(EMBED)))
        await house.time.advance(10)
        await again


async def test_an_engine_that_breaks_in_an_unforeseen_way_does_not_take_the_hub_down(open_house: OpenHouse):
    async with open_house() as house, asyncio.TaskGroup() as tasks:
        house.broken = RuntimeError("surprise")
        answer = tasks.create_task(_outcome(text_of(house.admit(CHAT))))
        await house.pass_time(60)
        assert isinstance(await answer, EngineStartFailed)
        house.broken = None
        again = tasks.create_task(text_of(house.admit(EMBED)))
        await house.pass_time(10)
        await again


async def test_an_engine_that_cannot_be_made_or_cleaned_up_behind_does_not_take_the_hub_down(
    open_house: OpenHouse, monkeypatch: pytest.MonkeyPatch
):
    """A disk that was mounted read-only: no directory for the socket, and none can be removed."""

    def read_only(*_: object) -> NoReturn:
        raise OSError(errno.EROFS, "Read-only file system")

    async def not_removed(engine: FakeEngine, grace_s: float) -> None:
        await stop(engine, grace_s)
        read_only()

    stop = FakeEngine.stop
    async with open_house() as house, asyncio.TaskGroup() as tasks:
        make_engine, house.hub.residents._make_engine = house.hub.residents._make_engine, read_only
        answer = tasks.create_task(_outcome(text_of(house.admit(CHAT))))
        await house.pass_time(60)
        outcome = await answer
        assert isinstance(outcome, EngineStartFailed)
        assert "Read-only file system" in outcome.message
        house.hub.residents._make_engine = make_engine
        monkeypatch.setattr(FakeEngine, "stop", not_removed)
        tasks.create_task(text_of(house.admit(EMBED)))
        await house.pass_time(10)
        house.hub.post(UnloadAsked(model=EMBED))
        await house.pass_time(10)
        assert house.hub.residents.running == {}
        assert house.hub.scheduler.residents_view() == (), "the policy knows that its memory is free"


async def test_a_model_whose_file_went_away_while_its_turn_came_is_an_error_for_those_who_wait(open_house: OpenHouse):
    async with open_house(memory_bytes=150 * MIB) as house, asyncio.TaskGroup() as tasks:
        first = tasks.create_task(text_of(house.admit(EMBED)))
        second = tasks.create_task(_outcome(text_of(house.admit(CHAT))))
        house.hub.library.remove(CHAT)
        await house.pass_time(120)
        await first
        assert isinstance(await second, EngineStartFailed)


async def test_an_engine_that_grows_is_held_for_what_it_has_grown_to(open_house: OpenHouse):
    async with open_house() as house, asyncio.TaskGroup() as tasks:
        tasks.create_task(text_of(house.admit(CHAT)))
        await house.time.advance(10)
        (resident,) = house.hub.residents.running.values()
        assert resident.loaded is not None
        resident.loaded = replace(resident.loaded, pid=4711)
        for size in (90 * MIB, 180 * MIB, 120 * MIB):
            Weigher(resident_bytes=lambda _, size=size: size).weigh(house.hub, ())
        (view,) = house.hub.scheduler.residents_view()
        assert view.bytes_ == (("host", 180 * MIB),)


async def test_loading_without_work_ends_when_the_model_is_ready(open_house: OpenHouse):
    async with open_house() as house, asyncio.TaskGroup() as tasks:
        ticket = house.hub.admit(Request(id="load", model=CHAT, client=Client(name="x"), work=None))
        first = tasks.create_task(anext(ticket.stream()))
        await house.time.advance(2)
        done = await first
        assert isinstance(done, Done)
        assert done.finish_reason == "load"
        assert house.held() == (0, 0)


async def test_refusals_come_before_any_byte(open_house: OpenHouse):
    async with open_house(memory_bytes=50 * MIB, settings=PolicySettings(queue_limit=1)) as house:
        with pytest.raises(ModelNotFound, match="partage pull absent"):
            house.admit("absent")
        with pytest.raises(Unsupported, match="does not support chat"):
            house.admit(EMBED, chat())
        with pytest.raises(CannotFit) as caught:
            house.admit(CHAT)
        assert caught.value.needs_bytes == 100 * MIB
        assert house.hub.stats.clients["someone"].refused == 3


async def test_a_full_queue_is_refused_with_when_to_come_back(open_house: OpenHouse):
    async with open_house(settings=PolicySettings(queue_limit=1)) as house, asyncio.TaskGroup() as tasks:
        tasks.create_task(text_of(house.admit(CHAT)))
        with pytest.raises(QueueFull) as caught:
            house.admit(CHAT)
        assert caught.value.retry_after_s > 0
        await house.time.advance(10)


async def test_closing_refuses_those_who_wait_and_stops_every_engine(open_house: OpenHouse):
    async with asyncio.TaskGroup() as tasks:
        async with open_house() as house:
            loading = tasks.create_task(_outcome(text_of(house.admit(CHAT))))
            await settle()
        assert isinstance(await loading, ShuttingDown)
        assert not house.hub.residents.running
        with pytest.raises(ShuttingDown):
            house.admit(CHAT)


async def test_a_position_in_the_queue_is_known_while_waiting(open_house: OpenHouse):
    async with open_house() as house, asyncio.TaskGroup() as tasks:
        first, second = house.admit(CHAT), house.admit(CHAT)
        places = [first.position(), second.position()]
        assert [place.position for place in places if place] == [1, 2]
        for ticket in (first, second):
            tasks.create_task(text_of(ticket))
        await house.time.advance(10)
        assert first.position() is None


async def test_a_key_names_its_client_and_a_wrong_one_is_refused_where_keys_are_required(open_house: OpenHouse):
    known = {"chat": KnownClient(client=Client(name="chat"), key="s3cret")}
    async with open_house(known=known) as house:
        assert house.hub.clients.identify(api_key="s3cret", address="10.0.0.1").name == "chat"
        assert house.hub.clients.identify(api_key="wrong", address="10.0.0.1").name == "10.0.0.1"
        house.hub.clients._require_key = True
        with pytest.raises(Unauthorized):
            house.hub.clients.identify(api_key="wrong", address="10.0.0.1")


@pytest.mark.parametrize("address", ["chat", "10.0.0.1, chat", "a" * 10_000])
def test_nobody_takes_the_name_of_a_client_with_a_key_for_an_address(address: str):
    clients = Clients({"chat": KnownClient(client=Client(name="chat"), key="s3cret")}, FakeClock())
    assert clients.identify(api_key=None, address=address).name == "unknown"
    assert clients.identify(api_key=None, address="2001:db8::1").name == "2001:db8::1"


async def test_a_client_over_its_own_rate_is_told_when_it_may_come_back(open_house: OpenHouse):
    slow = Client(name="slow", requests_per_minute=1)
    async with open_house() as house, asyncio.TaskGroup() as tasks:
        tasks.create_task(text_of(house.admit(CHAT, client=slow)))
        await house.time.advance(20)
        with pytest.raises(QuotaExceeded, match="1 requests per minute") as caught:
            house.admit(CHAT, client=slow)
        assert caught.value.retry_after_s == pytest.approx(40, abs=1)
        await house.time.advance(41)
        tasks.create_task(text_of(house.admit(CHAT, client=slow)))
        await house.time.advance(20)


async def _outcome(answer: Awaitable[str]) -> object:
    try:
        return await answer
    except Exception as error:  # noqa: BLE001 - the outcome is what the test looks at
        return error
