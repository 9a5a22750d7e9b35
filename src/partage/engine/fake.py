"""FakeEngine: a model server with scripted behaviour, for tests and trials without a model.

It keeps the Engine contract and is slow, small or broken exactly as told. All its waiting goes through one injected
`sleep`; with a FakeTime the waiting costs no real time and happens in an order that a test controls.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import itertools
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field

from partage.clock import FakeClock
from partage.domain import DeviceId
from partage.engine.base import EngineExit, Loaded
from partage.errors import EngineCrashed, EngineError, EngineOutOfMemory, EngineStartFailed
from partage.work import (
    ChatWork,
    CompletionWork,
    CountWork,
    Delta,
    Done,
    EmbedWork,
    Output,
    PromptProgress,
    Usage,
    Vectors,
    Work,
)

Sleep = Callable[[float], Awaitable[None]]


class FakeTime:
    """Sleep on a clock that moves when told to: `await time.advance(2.0)` wakes every sleeper on the way, in order."""

    def __init__(self, clock: FakeClock | None = None) -> None:
        self.clock = clock or FakeClock()
        self._sleepers: list[tuple[float, int, asyncio.Event]] = []
        self._order = itertools.count()

    def now_s(self) -> float:
        return self.clock.now_s()

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.Event()
        heapq.heappush(self._sleepers, (self.now_s() + seconds, next(self._order), woken))
        await woken.wait()

    async def advance(self, seconds: float) -> None:
        end_s = self.now_s() + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end_s:
            due_s, _, woken = heapq.heappop(self._sleepers)
            self.clock.advance(max(0.0, due_s - self.now_s()))
            woken.set()
            await settle()
        self.clock.advance(max(0.0, end_s - self.now_s()))
        await settle()


async def settle(rounds: int = 50) -> None:
    """Let every task that can run do so."""
    for _ in range(rounds):
        await asyncio.sleep(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What a FakeEngine does. The defaults: everything works, at once."""

    load_s: float = 0.0
    stop_s: float = 0.0
    start_failure: str = ""
    """A reason: start() raises EngineStartFailed with it, after load_s."""
    out_of_memory: bool = False
    prompt_tokens_per_s: float = math.inf
    tokens_per_s: float = math.inf
    answer: tuple[str, ...] = ("Hello", " from", " the", " fake", " engine", ".")
    """One token each; repeated as needed when max_tokens asks for more."""
    repeat_answer: bool = False
    crash_after_tokens: int | None = None
    """Crash when so many tokens, over all streams, have been made."""
    vector_width: int = 4
    context_tokens: int = 4096
    slots: int = 1
    pid: int | None = None
    measured_bytes: tuple[tuple[DeviceId, int], ...] = ()


@dataclass(slots=True)
class FakeEngine:
    """Tests may also call crash() at any moment, and read what happened: `works`, `streaming`, `most_streaming`."""

    behaviour: Behaviour = Behaviour()
    sleep: Sleep = asyncio.sleep
    works: list[Work] = field(default_factory=list[Work])
    streaming: int = 0
    most_streaming: int = 0
    tokens_made: int = 0
    ready: bool = False
    _stopping: bool = False
    _exit: EngineExit | None = None
    _gone: asyncio.Event = field(default_factory=asyncio.Event)
    _running: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._running.set()

    async def start(self) -> Loaded:
        await self._spend(self.behaviour.load_s, EngineStartFailed("stopped while loading"))
        if self.behaviour.out_of_memory:
            self._end(returncode=1)
            raise EngineOutOfMemory("fake engine: cudaMalloc failed: out of memory")
        if self.behaviour.start_failure:
            self._end(returncode=1)
            raise EngineStartFailed(self.behaviour.start_failure)
        self.ready = True
        return Loaded(
            load_s=self.behaviour.load_s,
            measured_bytes=self.behaviour.measured_bytes,
            context_tokens=self.behaviour.context_tokens,
            slots=self.behaviour.slots,
            pid=self.behaviour.pid,
        )

    async def stream(self, work: Work) -> AsyncGenerator[Output, None]:
        assert self.ready, "stream() before start() returned"
        self.works.append(work)
        self.streaming += 1
        self.most_streaming = max(self.most_streaming, self.streaming)
        try:
            prompt_tokens = count_tokens(work)
            prefill_s = prompt_tokens / self.behaviour.prompt_tokens_per_s
            await self._spend(prefill_s, self._crashed())
            if isinstance(work, EmbedWork):
                vectors = tuple(map(self._vector, (*work.inputs, *map(str, work.tokens))))
                yield Vectors(vectors=vectors, usage=Usage(prompt_tokens=prompt_tokens, prefill_s=prefill_s))
                return
            if isinstance(work, CountWork):
                yield Done(finish_reason="count", usage=Usage(prompt_tokens=prompt_tokens))
                return
            yield PromptProgress(prompt_tokens, prompt_tokens)
            tokens, finish_reason = self._answer(work.sampling.max_tokens)
            token_s = 1 / self.behaviour.tokens_per_s
            for token in tokens:
                await self._spend(token_s, self._crashed())
                self.tokens_made += 1
                if self.tokens_made == self.behaviour.crash_after_tokens:
                    self.crash()
                    raise self._crashed()
                yield Delta(text=token)
            usage = Usage(
                prompt_tokens=prompt_tokens,
                output_tokens=len(tokens),
                prefill_s=prefill_s,
                decode_s=len(tokens) * token_s,
            )
            yield Done(finish_reason=finish_reason, usage=usage)
        finally:
            self.streaming -= 1

    @property
    def paused(self) -> bool:
        return not self._running.is_set()

    def pause(self) -> None:
        self._running.clear()

    def resume(self) -> None:
        self._running.set()

    async def stop(self, grace_s: float) -> None:
        self._stopping = True
        if not self._gone.is_set():
            await self.sleep(min(self.behaviour.stop_s, grace_s))
            self._end(returncode=0)

    async def wait_gone(self) -> EngineExit:
        await self._gone.wait()
        assert self._exit is not None
        return self._exit

    def crash(self, returncode: int = -9) -> None:
        """Die at once, as after a kill from outside."""
        self._end(returncode)

    def _end(self, returncode: int) -> None:
        if self._exit is None:
            self.ready = False
            self._exit = EngineExit(returncode=returncode, asked_for=self._stopping, log_tail=("fake engine ended",))
            self._gone.set()

    def _crashed(self) -> EngineCrashed:
        return EngineCrashed("fake engine: ended while it was serving this request")

    async def _spend(self, seconds: float, if_gone: EngineError) -> None:
        async with asyncio.TaskGroup() as group:
            asleep = group.create_task(self._compute(seconds))
            gone = group.create_task(self._gone.wait())
            await asyncio.wait((asleep, gone), return_when=asyncio.FIRST_COMPLETED)
            asleep.cancel()
            gone.cancel()
        if self._gone.is_set():
            raise if_gone

    async def _compute(self, seconds: float) -> None:
        """What is due while it is paused comes out when it goes on."""
        await self.sleep(seconds)
        await self._running.wait()

    def _answer(self, max_tokens: int | None) -> tuple[tuple[str, ...], str]:
        answer = self.behaviour.answer
        if self.behaviour.repeat_answer and max_tokens is not None and max_tokens > 0:
            answer = tuple(itertools.islice(itertools.cycle(answer), max_tokens))
        if max_tokens is not None and 0 <= max_tokens <= len(answer):
            return answer[:max_tokens], "length"
        return answer, "stop"

    def _vector(self, text: str) -> tuple[float, ...]:
        """Make a unit vector out of a text: always the same one."""
        digest = hashlib.shake_128(text.encode()).digest(self.behaviour.vector_width)
        numbers = [byte / 255 + 0.01 for byte in digest]
        length = math.hypot(*numbers)
        return tuple(number / length for number in numbers)


def count_tokens(work: Work) -> int:
    """Count words: here, one is one token."""
    match work:
        case ChatWork(messages=messages):
            texts = [message.content for message in messages]
        case CompletionWork(prompt=prompt, tokens=tokens):
            texts = [prompt, *map(str, tokens)]
        case EmbedWork(inputs=inputs, tokens=tokens):
            return sum(len(text.split()) for text in inputs) + sum(map(len, tokens))
        case CountWork(chat=chat):
            return count_tokens(chat)
    return sum(len(text.split()) for text in texts)
