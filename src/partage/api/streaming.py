"""Answers on their way out: streamed or whole, ended in every phase as soon as the client leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol, assert_never

from partage.api.exchange import ClientLeft, Exchange
from partage.api.ports import Ticket
from partage.hub.views import QueuePosition, Timing
from partage.work import Delta, Done, PromptProgress, TokenLogprob, ToolCall, Usage, Vectors

NDJSON = b"application/x-ndjson"
SSE = b"text/event-stream; charset=utf-8"
STALLED_S = 120.0
"""A client that takes nothing of what is written for so long has left."""
SSE_HEADERS = [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]


class Frames(Protocol):
    """How one dialect writes a streamed answer. One object per answer; it may remember what it has written."""

    content_type: bytes
    prompt_tokens: int
    """Of the prompt, known before its answer begins where the engine says so."""

    def delta(self, delta: Delta) -> bytes:
        """Empty: nothing to write yet."""
        ...

    def done(self, done: Done, timing: Timing) -> bytes: ...

    def silence(self, position: QueuePosition | None) -> bytes:
        """What to send so that nobody between us and the client thinks the line is dead."""
        ...


@dataclass(frozen=True, slots=True)
class Silence:
    """What to send when nothing was written for so long."""

    after_s: float
    content_type: bytes
    fill: Callable[[], bytes]


@asynccontextmanager
async def while_present(exchange: Exchange, silence: Silence | None = None) -> AsyncGenerator[None]:
    """Run the body only as long as the client is there; raises ClientLeft in its place. Needs the body to be read.

    Whenever nothing was written for a while, the line is kept alive with what `silence` says.
    """
    async with _collapsing_group() as group:
        companion = group.create_task(_listen(exchange) if silence is None else _break_silence(exchange, silence))
        yield
        companion.cancel()


async def stream_answer(
    exchange: Exchange, ticket: Ticket, frames: Frames, silence_s: float, *, last: bool = True
) -> None:
    """Write the answer as it comes; after the last one of the exchange there is nothing more.

    The headers wait for the first piece of it, so that an error before that keeps its status. When there is none for
    `silence_s` (the request queues, its model loads, a long prompt is read), headers and keep-alives go out instead.
    """
    silence = Silence(silence_s, frames.content_type, lambda: frames.silence(ticket.position()))
    async with while_present(exchange, silence), aclosing(ticket.stream()) as outputs:
        async for output in outputs:
            match output:
                case Delta():
                    chunk = frames.delta(output)
                case Done():
                    chunk = frames.done(output, ticket.timing)
                case PromptProgress():
                    frames.prompt_tokens = output.total_tokens
                    continue
                case Vectors():
                    continue
                case _:
                    assert_never(output)
            if chunk:
                await write(exchange, frames.content_type, chunk)
    if last:
        await exchange.finish()


@dataclass(slots=True)
class Answer:
    """A whole answer, put together from its pieces."""

    timing: Timing
    text: str = ""
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: list[TokenLogprob] = field(default_factory=list[TokenLogprob])
    vectors: tuple[tuple[float, ...], ...] = ()
    finish_reason: str = "stop"
    stop: str = ""
    usage: Usage = field(default_factory=Usage)


async def whole_answer(exchange: Exchange, ticket: Ticket) -> Answer:
    texts: list[str] = []
    thoughts: list[str] = []
    tool_calls = ToolCallPieces()
    answer = Answer(timing=Timing())
    async with while_present(exchange), aclosing(ticket.stream(whole=True)) as outputs:
        async for output in outputs:
            match output:
                case Delta():
                    texts.append(output.text)
                    thoughts.append(output.thinking)
                    tool_calls.add(output)
                    answer.logprobs.extend(output.logprobs)
                case Done():
                    answer.finish_reason, answer.usage, answer.stop = output.finish_reason, output.usage, output.stop
                case Vectors():
                    answer.vectors, answer.usage = output.vectors, output.usage
                case PromptProgress():
                    pass
                case _:
                    assert_never(output)
    answer.timing = ticket.timing
    answer.text, answer.thinking, answer.tool_calls = "".join(texts), "".join(thoughts), tool_calls.take()
    return answer


class ToolCallPieces:
    """Tool calls that come in pieces, put together."""

    def __init__(self) -> None:
        self._calls: dict[int, ToolCall] = {}

    def add(self, delta: Delta) -> None:
        for index, piece in delta.tool_calls:
            known = self._calls.get(index)
            self._calls[index] = piece if known is None else _joined(known, piece)

    def take(self) -> tuple[ToolCall, ...]:
        calls = tuple(self._calls[index] for index in sorted(self._calls))
        self._calls.clear()
        return calls


def _joined(known: ToolCall, piece: ToolCall) -> ToolCall:
    return ToolCall(id=known.id or piece.id, name=known.name or piece.name, arguments=known.arguments + piece.arguments)


async def write(exchange: Exchange, content_type: bytes, chunk: bytes) -> None:
    if not exchange.started:
        await exchange.start(content_type, SSE_HEADERS if content_type is SSE else None)
    await exchange.write(chunk)


async def _break_silence(exchange: Exchange, silence: Silence) -> None:
    """Listen for the client's leaving; whenever nothing was written for a while, write a keep-alive.

    A client that stops reading (its laptop sleeps, somebody pages through the answer) holds a slot of the engine meanwhile.
    """
    stalled_s = 0.0
    while True:
        writes = exchange.writes
        try:
            async with asyncio.timeout(silence.after_s):
                await _listen(exchange)
        except TimeoutError:
            if exchange.writes != writes:
                stalled_s = 0.0
            elif exchange.writing:
                stalled_s += silence.after_s
                if stalled_s >= STALLED_S:
                    raise ClientLeft from None
            else:
                await write(exchange, silence.content_type, silence.fill())


async def _listen(exchange: Exchange) -> None:
    while (await exchange.receive())["type"] != "http.disconnect":
        pass
    raise ClientLeft


@asynccontextmanager
async def _collapsing_group() -> AsyncGenerator[asyncio.TaskGroup]:
    """A task group whose only error comes out as itself: those who wait above match on its class."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as errors:
        # Two at once: the client left while the answer failed. Nobody is there to read the second.
        raise errors.exceptions[0] from None
