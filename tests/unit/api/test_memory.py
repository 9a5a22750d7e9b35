from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partage.api.memory import recall, remember
from partage.errors import InvalidRequest
from partage.work import Message

TALK = (Message(role="system", content="be kind"), Message(role="user", content="grüß dich 🙂"))


@given(st.text(), st.text())
def test_what_is_remembered_is_recalled(question: str, answer: str):
    asked = Message(role="user", content=question)
    numbers = remember((asked,), answer)
    assert recall(numbers) == (asked, Message(role="assistant", content=answer))
    assert all(0 <= number < 1 << 31 for number in numbers)


def test_a_long_conversation_takes_fewer_numbers_than_characters():
    assert len(remember((Message(role="user", content="The box was broken. " * 500),), "I see.")) < 100


def test_numbers_that_were_changed_are_refused():
    numbers = remember(TALK, "hello")
    for changed in (numbers[:-1], [*numbers, 5], [numbers[0] + 1, *numbers[1:]], numbers[1:]):
        with pytest.raises(InvalidRequest, match="context"):
            recall(changed)


@given(st.lists(st.integers(-(2**70), 2**70), min_size=1))
def test_other_numbers_are_refused(numbers: list[int]):
    with pytest.raises(InvalidRequest, match="context"):
        recall(numbers)
