from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import pytest

from partage.domain import Client
from partage.errors import ModelNotFound, PartageError
from partage.policy.actions import Action
from partage.policy.events import Event, RequestFinished

from .conftest import CHAT, House, text_of


class OpenHouse(Protocol):
    def __call__(self) -> AbstractAsyncContextManager[House]: ...


class Witness:
    def __init__(self) -> None:
        self.events: list[Event] = []
        self.refusals: list[tuple[str, str, str]] = []

    def decided(self, at_s: float, event: Event, actions: Sequence[Action]) -> None:
        self.events.append(event)

    def refused(self, client: Client, model: str, error: PartageError) -> None:
        self.refusals.append((client.name, model, type(error).__name__))


class Clumsy(Witness):
    def decided(self, at_s: float, event: Event, actions: Sequence[Action]) -> None:
        raise RuntimeError("a defect of its own")


async def test_an_observer_sees_the_times_of_an_answer_and_every_refusal(open_house: OpenHouse):
    async with open_house() as house, asyncio.TaskGroup() as tasks:
        witness = Witness()
        house.hub._observers.append(witness)
        answer = tasks.create_task(text_of(house.admit(CHAT)))
        await house.time.advance(10)
        await answer
        (finished,) = [event for event in witness.events if isinstance(event, RequestFinished)]
        assert finished.first_output_s == pytest.approx(1.1, abs=0.01)
        assert finished.decode_s > 0
        with pytest.raises(ModelNotFound):
            house.admit("nobody:latest")
        assert witness.refusals == [("someone", "nobody:latest", "ModelNotFound")]


async def test_an_observer_that_fails_is_left_alone_and_the_request_is_served(open_house: OpenHouse):
    async with open_house() as house, asyncio.TaskGroup() as tasks:
        witness = Witness()
        house.hub._observers += [Clumsy(), witness]
        answer = tasks.create_task(text_of(house.admit(CHAT)))
        await house.time.advance(10)
        assert await answer == "Hello from the fake"
        assert house.hub._observers == [house.hub.stats, house.hub.stays, witness]
