from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from partage.engine.forgetting import SHORTEST, forgetting, without_oldest
from partage.errors import ContextTooLong
from partage.work import ChatWork, CompletionWork, Delta, Message, Output, ToolCall

SYSTEM = Message(role="system", content="be kind")


def talk(count: int) -> tuple[Message, ...]:
    return tuple(
        Message(role="user" if number % 2 == 0 else "assistant", content=str(number)) for number in range(count)
    )


class Engine:
    """Takes so many messages, and keeps what it was asked."""

    def __init__(self, most: int, *, begins: bool = False) -> None:
        self.most = most
        self.begins = begins
        self.asked: list[tuple[Message, ...]] = []

    async def answer(self, work: ChatWork | CompletionWork) -> AsyncGenerator[Output, None]:
        assert isinstance(work, ChatWork)
        self.asked.append(work.messages)
        if self.begins:
            yield Delta(text="well")
        if len(work.messages) > self.most:
            raise ContextTooLong
        yield Delta(text="yes")


async def test_the_oldest_messages_go_until_the_rest_fits():
    engine = Engine(most=4)
    messages = (SYSTEM, *talk(9))
    outputs = [one async for one in forgetting(ChatWork(messages=messages), engine.answer)]
    assert outputs == [Delta(text="yes")]
    assert engine.asked[0] == messages
    assert engine.asked[-1] == (SYSTEM, *messages[-3:])


async def test_what_must_stay_is_refused_when_it_is_too_long_by_itself():
    engine = Engine(most=1)
    with pytest.raises(ContextTooLong):
        _ = [one async for one in forgetting(ChatWork(messages=(SYSTEM, *talk(3))), engine.answer)]
    assert engine.asked[-1] == (SYSTEM, talk(3)[-1])


async def test_an_answer_that_has_begun_is_never_asked_again():
    engine = Engine(most=1, begins=True)
    with pytest.raises(ContextTooLong):
        _ = [one async for one in forgetting(ChatWork(messages=talk(3)), engine.answer)]
    assert len(engine.asked) == 1


def test_a_tools_answer_goes_with_its_question():
    call = Message(role="assistant", content="", tool_calls=(ToolCall(id="1", name="f", arguments="{}"),))
    result, last = Message(role="tool", content="5"), Message(role="user", content="and now?")
    assert without_oldest((call, result, result, last), ContextTooLong()) == (last,)


def test_a_hundred_thousand_messages_lose_their_eighth_at_once():
    began = time.monotonic()
    left = without_oldest(tuple(Message(role="user", content="x") for _ in range(100_001)), ContextTooLong())
    assert (len(left), time.monotonic() - began < 20.0) == (87_501, True)


class Tokens:
    """A context of so many tokens, two characters each."""

    def __init__(self, context: int) -> None:
        self.context = context
        self.taken: list[str] = []

    async def answer(self, work: ChatWork | CompletionWork) -> AsyncGenerator[Output, None]:
        texts = [work.prompt] if isinstance(work, CompletionWork) else [one.content for one in work.messages]
        tokens = sum(len(text) // 2 for text in texts)
        if tokens > self.context:
            raise ContextTooLong(prompt_tokens=tokens, context_tokens=self.context)
        self.taken = texts
        yield Delta(text="yes")


async def test_a_message_too_long_by_itself_loses_its_beginning_and_leaves_room_for_the_answer():
    engine = Tokens(context=500)
    text = "".join(f"{number:5}" for number in range(2000))
    messages = (SYSTEM, *talk(2), Message(role="user", content=text))
    assert [one async for one in forgetting(ChatWork(messages=messages), engine.answer)] == [Delta(text="yes")]
    system, last = engine.taken
    assert (system, last) == ("be kind", text[-len(last) :])
    assert 300 < len(last) // 2 <= 375


async def test_a_system_prompt_too_long_is_cut_and_the_question_is_not():
    engine = Tokens(context=500)
    messages = (Message(role="system", content="be kind " * 1000), Message(role="user", content="who are you?"))
    assert [one async for one in forgetting(ChatWork(messages=messages), engine.answer)] == [Delta(text="yes")]
    assert engine.taken[1] == "who are you?"


async def test_a_raw_prompt_loses_its_beginning():
    engine = Tokens(context=100)
    work = CompletionWork(prompt="x" * 1000 + "the end")
    assert [one async for one in forgetting(work, engine.answer)] == [Delta(text="yes")]
    assert engine.taken[0].endswith("xthe end")


async def test_it_ends_where_there_is_nothing_to_cut():
    engine = Tokens(context=10)
    with pytest.raises(ContextTooLong):
        _ = [one async for one in forgetting(CompletionWork(prompt="x" * 10_000), engine.answer)]
    with pytest.raises(ContextTooLong):
        _ = [
            one
            async for one in forgetting(
                ChatWork(messages=(Message(role="user", content="x" * SHORTEST),)), engine.answer
            )
        ]


async def test_a_conversation_far_too_long_is_asked_a_few_times_and_keeps_most_of_what_fits():
    engine = Tokens(context=1000)
    messages = (SYSTEM, *(Message(role="user", content=f"{number:020}") for number in range(5000)))
    asked: list[int] = []

    async def answer(work: ChatWork | CompletionWork) -> AsyncGenerator[Output, None]:
        assert isinstance(work, ChatWork)
        asked.append(len(work.messages))
        async with aclosing(engine.answer(work)) as outputs:
            async for output in outputs:
                yield output

    _ = [one async for one in forgetting(ChatWork(messages=messages), answer)]
    assert len(asked) <= 5
    assert 80 <= asked[-1] <= 100
