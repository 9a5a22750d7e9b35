"""Streamed answers in OpenAI-style JSON, and in llama.cpp's own, become Outputs. This runs once per token."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from dataclasses import replace
from typing import Protocol

import msgspec

from partage.engine.connection import UNREADABLE, Connection, error_of
from partage.errors import EngineCrashed, EngineError
from partage.json_value import JsonObject
from partage.work import ChatWork, Delta, Done, Output, PromptProgress, Sampling, TokenLogprob, ToolCall, Usage


class Reader(Protocol):
    """Takes the events of one answer and keeps what its end is made of."""

    def read(self, data: bytes) -> Iterator[Output]: ...

    def done(self) -> Done: ...


class TopLogprobJson(msgspec.Struct):
    token: str = ""
    logprob: float = 0.0


class LogprobJson(msgspec.Struct):
    token: str = ""
    logprob: float = 0.0
    bytes: list[int] | None = None
    top_logprobs: list[TopLogprobJson] = []


class _Logprobs(msgspec.Struct):
    content: list[LogprobJson] | None = None


class _Function(msgspec.Struct, frozen=True):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    index: int = 0
    id: str | None = None
    function: _Function = _Function()


class _Delta(msgspec.Struct, frozen=True):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta = _Delta()
    text: str | None = None
    """Of /v1/completions."""
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    """Of vLLM: the text, or the token, that ended it."""
    logprobs: _Logprobs | None = None


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class UsageJson(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _PromptDetails | None = None


class Timings(msgspec.Struct):
    """What llama.cpp measured."""

    cache_n: int = 0
    prompt_n: int = 0
    prompt_ms: float = 0.0
    predicted_n: int = 0
    predicted_ms: float = 0.0

    def usage(self) -> Usage:
        return Usage(
            prompt_tokens=self.cache_n + self.prompt_n,
            cached_tokens=self.cache_n,
            output_tokens=self.predicted_n,
            prefill_s=self.prompt_ms / 1000,
            decode_s=self.predicted_ms / 1000,
        )


class Progress(msgspec.Struct):
    total: int = 0
    processed: int = 0


class _Verbose(msgspec.Struct):
    stopping_word: str = ""


class _Chunk(msgspec.Struct, rename={"verbose": "__verbose"}):
    choices: list[_Choice] = []
    usage: UsageJson | None = None
    timings: Timings | None = None
    prompt_progress: Progress | None = None
    verbose: _Verbose | None = None
    """Of llama.cpp, in the last chunk."""
    error: object = None


ONE_TOKEN = Sampling(max_tokens=1)
DONE = b"data: [DONE]"
"""The last of an answer in OpenAI's dialect; the connection itself ends a moment later."""

_decode_chunk = msgspec.json.Decoder(_Chunk).decode


def logprobs_of(content: Iterable[LogprobJson]) -> tuple[TokenLogprob, ...]:
    return tuple(
        TokenLogprob(
            token=item.token,
            logprob=item.logprob,
            bytes_=tuple(item.bytes or ()),
            top=tuple((top.token, top.logprob) for top in item.top_logprobs),
        )
        for item in content
    )


class ChatReader:
    """Reads the events of one streamed chat answer; runs once per token, so it does little."""

    def __init__(self) -> None:
        self.finish_reason = ""
        self.stop = ""
        self.usage: UsageJson | None = None
        self.timings: Timings | None = None

    def read(self, data: bytes) -> Iterator[Output]:
        chunk = _decode_chunk(data)
        if chunk.choices:
            choice = chunk.choices[0]
            delta = choice.delta
            text = delta.content or choice.text
            if text or delta.tool_calls or delta.reasoning_content or delta.reasoning:
                yield Delta(
                    text=text or "",
                    thinking=delta.reasoning_content or delta.reasoning or "",
                    tool_calls=_tool_calls_of(delta.tool_calls) if delta.tool_calls else (),
                    logprobs=logprobs_of(choice.logprobs.content or ()) if choice.logprobs else (),
                )
            if choice.finish_reason:
                self.finish_reason = choice.finish_reason
                if chunk.verbose is not None:
                    self.stop = chunk.verbose.stopping_word
                elif isinstance(choice.stop_reason, str):
                    self.stop = choice.stop_reason
        if chunk.prompt_progress is not None:
            yield PromptProgress(chunk.prompt_progress.processed, chunk.prompt_progress.total)
        if chunk.timings is not None:
            self.timings = chunk.timings
        if chunk.usage is not None:
            self.usage = chunk.usage
        if chunk.error is not None:
            raise error_of(500, data)

    def done(self) -> Done:
        if not self.finish_reason:
            raise EngineCrashed("the model server ended its answer in the middle")
        if self.timings is not None:
            usage = self.timings.usage()
        elif self.usage is not None:
            details = self.usage.prompt_tokens_details
            usage = Usage(
                prompt_tokens=self.usage.prompt_tokens,
                cached_tokens=(details.cached_tokens or 0) if details else 0,
                output_tokens=self.usage.completion_tokens,
            )
        else:
            usage = Usage()
        return Done(finish_reason=self.finish_reason, usage=usage, stop=self.stop)


def _tool_calls_of(pieces: Iterable[_ToolCall]) -> tuple[tuple[int, ToolCall], ...]:
    return tuple(
        (
            piece.index,
            ToolCall(id=piece.id or "", name=piece.function.name or "", arguments=piece.function.arguments or ""),
        )
        for piece in pieces
    )


class CompletionChunk(msgspec.Struct):
    """One event of llama.cpp's own /completion and /infill."""

    content: str = ""
    stop: bool = False
    stop_type: str = ""
    stopping_word: str = ""
    timings: Timings | None = None
    prompt_progress: Progress | None = None
    completion_probabilities: list[LogprobJson] = []
    error: object = None


_decode_completion = msgspec.json.Decoder(CompletionChunk).decode


class CompletionReader:
    """Reads the events of one streamed completion of llama.cpp."""

    def __init__(self) -> None:
        self._last: CompletionChunk | None = None

    def read(self, data: bytes) -> Iterator[Output]:
        chunk = _decode_completion(data)
        if chunk.error is not None:
            raise error_of(500, data)
        if chunk.prompt_progress is not None:
            yield PromptProgress(chunk.prompt_progress.processed, chunk.prompt_progress.total)
        elif chunk.content:
            yield Delta(text=chunk.content, logprobs=logprobs_of(chunk.completion_probabilities))
        if chunk.stop:
            self._last = chunk

    def done(self) -> Done:
        if self._last is None:
            raise EngineCrashed("the model server ended its answer in the middle")
        last = self._last
        usage = last.timings.usage() if last.timings else Usage()
        reason = "length" if last.stop_type == "limit" else "stop"
        return Done(finish_reason=reason, usage=usage, stop=last.stopping_word)


async def count_by_answering(
    chat: ChatWork, answer: Callable[[ChatWork], AsyncGenerator[Output, None]]
) -> AsyncGenerator[Output, None]:
    """What a conversation counts, where a server can only be asked by having it answered: with one token."""
    async with aclosing(answer(replace(chat, sampling=ONE_TOKEN, format=None))) as outputs:
        async for output in outputs:
            if isinstance(output, Done):
                yield Done(finish_reason="count", usage=Usage(prompt_tokens=output.usage.prompt_tokens))


async def stream_answer(
    connection: Connection, path: str, body: JsonObject, reader: Reader, *, prefix: bytes = b"data:"
) -> AsyncGenerator[Output, None]:
    """Post, and read to the end: server-sent events, or with an empty prefix one JSON per line. The last is Done."""
    try:
        async with aclosing(connection.lines(path, body)) as groups:
            async for lines in groups:
                for line in lines:
                    if line.startswith(prefix) and (data := line[len(prefix) :].strip()) and data != b"[DONE]":
                        for output in reader.read(data):
                            yield output
                if DONE in lines:
                    break
    except msgspec.MsgspecError as error:
        raise EngineError(UNREADABLE.format(error)) from error
    yield reader.done()
