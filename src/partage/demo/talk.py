"""A conversation with the chat model, streamed and timed: time to first token and tokens per second of every turn."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Protocol

from partage.client.wire import ChatPiece
from partage.clock import Clock
from partage.demo.outcome import Turn
from partage.errors import PartageError
from partage.json_value import JsonValue
from partage.work import Message

SYSTEM = "You work for Torrevia, a maker of espresso machines. Answer in one or two short sentences."
SCRIPT = (
    "Good morning! I would like to send my espresso machine back. What do I need first?",
    "Where do I find the serial number?",
    "Should I empty the water tank before I pack the machine?",
    "How long does a refund usually take?",
    "And if you find that nothing is broken?",
    "Thank you. Please sum up what I have to do.",
)
# Greedy and short, so that turns can be compared with each other.
OPTIONS: Mapping[str, JsonValue] = {"num_predict": 40, "temperature": 0.0, "seed": 1}


class ChatModel(Protocol):
    def stream_chat(
        self, model: str, messages: Sequence[Message], *, options: Mapping[str, JsonValue] | None = None
    ) -> AsyncGenerator[ChatPiece]: ...


async def converse(hub: ChatModel, model: str, clock: Clock) -> AsyncGenerator[Turn]:
    """Hold the scripted conversation once; a turn that fails says so and the conversation goes on without it."""
    messages = [Message(role="system", content=SYSTEM)]
    for question in SCRIPT:
        asked = [*messages, Message(role="user", content=question)]
        turn = await take_turn(hub, model, asked, clock)
        if turn.error is None:
            messages = [*asked, Message(role="assistant", content=turn.answer)]
        yield turn


async def take_turn(hub: ChatModel, model: str, messages: Sequence[Message], clock: Clock) -> Turn:
    question = messages[-1].content
    start_s = clock.now_s()
    first_s: float | None = None
    pieces: list[str] = []
    tokens = 0
    try:
        async with aclosing(hub.stream_chat(model, messages, options=OPTIONS)) as stream:
            async for piece in stream:
                if first_s is None and piece.text:
                    first_s = clock.now_s() - start_s
                pieces.append(piece.text)
                tokens = piece.usage.output_tokens or tokens
    except PartageError as error:
        return Turn(question=question, seconds=clock.now_s() - start_s, error=error.message)
    seconds = clock.now_s() - start_s
    return Turn(
        question=question,
        answer="".join(pieces),
        ttft_s=seconds if first_s is None else first_s,
        seconds=seconds,
        output_tokens=tokens,
    )
