"""Answers as OpenAI writes them: server-sent events, or one object."""

from __future__ import annotations

import base64
from array import array
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import reduce
from typing import Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from partage.api.streaming import SSE, Answer
from partage.hub.views import QueuePosition, Timing
from partage.json_value import JsonObject
from partage.work import Delta, Done, TokenLogprob, ToolCall, Usage

FINGERPRINT = "fp_partage"


class FunctionOut(msgspec.Struct, omit_defaults=True):
    arguments: str
    name: str | UnsetType = UNSET


class ToolCallOut(msgspec.Struct, omit_defaults=True):
    index: int | UnsetType
    function: FunctionOut
    id: str | UnsetType = UNSET
    type: str | UnsetType = UNSET


class MessageOut(msgspec.Struct, omit_defaults=True):
    """A whole message, or what a chunk adds to it."""

    role: str | UnsetType = UNSET
    content: str | UnsetType | None = UNSET
    reasoning: str | UnsetType = UNSET
    tool_calls: list[ToolCallOut] | UnsetType = UNSET


class TopLogprobOut(msgspec.Struct):
    token: str
    logprob: float
    bytes: tuple[int, ...]


class LogprobOut(msgspec.Struct):
    token: str
    logprob: float
    bytes: tuple[int, ...]
    top_logprobs: list[TopLogprobOut]


class LogprobsOut(msgspec.Struct):
    content: list[LogprobOut]


class TextLogprobsOut(msgspec.Struct):
    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class ChoiceOut(msgspec.Struct, omit_defaults=True):
    index: int
    finish_reason: str | None
    delta: MessageOut | UnsetType = UNSET
    message: MessageOut | UnsetType = UNSET
    text: str | UnsetType = UNSET
    logprobs: LogprobsOut | TextLogprobsOut | UnsetType = UNSET


class CachedOut(msgspec.Struct):
    cached_tokens: int


class UsageOut(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedOut


class CompletionOut(msgspec.Struct, omit_defaults=True):
    """A whole answer, or one chunk of it; of a chat, or of a text completion."""

    id: str
    object: str
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChoiceOut]
    usage: UsageOut | UnsetType | None = UNSET


_encoder = msgspec.json.Encoder()

Kind: TypeAlias = Literal["chat", "text"]


class OpenAIFrames:
    """An answer as server-sent events, ended by [DONE]."""

    content_type = SSE
    prompt_tokens = 0

    def __init__(
        self, kind: Kind, id_: str, model: str, *, includes_usage: bool = False, answers: int = 1, n: int = 1
    ) -> None:
        self._chat = kind == "chat"
        self._id = f"chatcmpl-{id_}" if self._chat else f"cmpl-{id_}"
        self._model = model
        self._created = int(datetime.now(UTC).timestamp())
        self._object = "chat.completion.chunk" if self._chat else "text_completion"
        # With usage asked for, every chunk says null until the last one tells.
        self._no_usage = None if includes_usage else UNSET
        self._includes_usage = includes_usage
        self._answers = answers
        """As many are to come, one after another, `n` to each prompt."""
        self._n = n
        self._index = 0
        self._usage = Usage()
        self._role: str | UnsetType = "assistant"
        self._text_length = 0

    def delta(self, delta: Delta) -> bytes:
        choice = ChoiceOut(self._index, None)
        if self._chat:
            choice.delta = self._message_delta(delta)
            if delta.logprobs:
                choice.logprobs = _logprobs(delta.logprobs)
        else:
            choice.text = delta.text
            if delta.logprobs:
                choice.logprobs = _text_logprobs(delta.logprobs, self._text_length)
            self._text_length += len(delta.text)
        return self._event(choice)

    def _message_delta(self, delta: Delta) -> MessageOut:
        message = MessageOut(self._role)
        if delta.text or self._role is not UNSET:
            message.content = delta.text
        self._role = UNSET
        if delta.thinking:
            message.reasoning = delta.thinking
        if delta.tool_calls:
            message.tool_calls = [_tool_call_piece(index, piece) for index, piece in delta.tool_calls]
        return message

    def done(self, done: Done, timing: Timing) -> bytes:
        choice = ChoiceOut(self._index, done.finish_reason)
        if self._chat:
            choice.delta = MessageOut(self._role)
        else:
            choice.text = ""
        end = self._event(choice)
        self._usage = _sum(self._usage, self._counted(self._index, done.usage))
        self._index, self._role, self._text_length = self._index + 1, "assistant", 0
        if self._index < self._answers:
            return end
        if self._includes_usage:
            end += _event(self._completion(self._object, [], _usage_out(self._usage)))
        return end + b"data: [DONE]\n\n"

    def silence(self, position: QueuePosition | None) -> bytes:
        if position is None:
            return b": working\n\n"
        return b": queued %d, about %.0f s\n\n" % (position.position, position.predicted_wait_s)

    def whole(self, *answers: Answer) -> bytes:
        choices = [self._choice(index, answer) for index, answer in enumerate(answers)]
        usage = reduce(_sum, (self._counted(index, answer.usage) for index, answer in enumerate(answers)))
        object_ = "chat.completion" if self._chat else "text_completion"
        return _encoder.encode(self._completion(object_, choices, _usage_out(usage)))

    def _counted(self, index: int, usage: Usage) -> Usage:
        """A prompt counts once, however many answers it has."""
        return usage if index % self._n == 0 else Usage(output_tokens=usage.output_tokens)

    def _choice(self, index: int, answer: Answer) -> ChoiceOut:
        choice = ChoiceOut(index, answer.finish_reason)
        logprobs = tuple(answer.logprobs)
        if self._chat:
            choice.message = _message(answer)
            choice.logprobs = _logprobs(logprobs) if logprobs else UNSET
        else:
            choice.text = answer.text
            choice.logprobs = _text_logprobs(logprobs, 0) if logprobs else UNSET
        return choice

    def _event(self, choice: ChoiceOut) -> bytes:
        return _event(self._completion(self._object, [choice], self._no_usage))

    def _completion(self, object_: str, choices: list[ChoiceOut], usage: UsageOut | UnsetType | None) -> CompletionOut:
        return CompletionOut(self._id, object_, self._created, self._model, FINGERPRINT, choices, usage)


def _event(completion: CompletionOut) -> bytes:
    return b"data: " + _encoder.encode(completion) + b"\n\n"


def _message(answer: Answer) -> MessageOut:
    message = MessageOut("assistant", answer.text or None if answer.tool_calls else answer.text)
    if answer.thinking:
        message.reasoning = answer.thinking
    if answer.tool_calls:
        message.tool_calls = [
            ToolCallOut(UNSET, FunctionOut(call.arguments, call.name), call.id, "function")
            for call in answer.tool_calls
        ]
    return message


def _tool_call_piece(index: int, piece: ToolCall) -> ToolCallOut:
    if not piece.id:
        return ToolCallOut(index, FunctionOut(piece.arguments))
    return ToolCallOut(index, FunctionOut(piece.arguments, piece.name), piece.id, "function")


def _sum(one: Usage, other: Usage) -> Usage:
    return Usage(
        prompt_tokens=one.prompt_tokens + other.prompt_tokens,
        cached_tokens=one.cached_tokens + other.cached_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
    )


def _usage_out(usage: Usage) -> UsageOut:
    total = usage.prompt_tokens + usage.output_tokens
    return UsageOut(usage.prompt_tokens, usage.output_tokens, total, CachedOut(usage.cached_tokens))


def _logprobs(logprobs: tuple[TokenLogprob, ...]) -> LogprobsOut:
    return LogprobsOut(logprobs_out(logprobs))


def logprobs_out(logprobs: Iterable[TokenLogprob]) -> list[LogprobOut]:
    return [
        LogprobOut(
            one.token,
            one.logprob,
            one.bytes_ or tuple(one.token.encode()),
            [TopLogprobOut(token, value, tuple(token.encode())) for token, value in one.top],
        )
        for one in logprobs
    ]


def _text_logprobs(logprobs: tuple[TokenLogprob, ...], offset: int) -> TextLogprobsOut:
    offsets: list[int] = []
    for one in logprobs:
        offsets.append(offset)
        offset += len(one.token)
    return TextLogprobsOut(
        [one.token for one in logprobs], [one.logprob for one in logprobs], [dict(one.top) for one in logprobs], offsets
    )


def embeddings(answer: Answer, model: str, *, as_base64: bool) -> bytes:
    data = [
        {"object": "embedding", "index": index, "embedding": _base64_floats(vector) if as_base64 else vector}
        for index, vector in enumerate(answer.vectors)
    ]
    usage: JsonObject = {"prompt_tokens": answer.usage.prompt_tokens, "total_tokens": answer.usage.prompt_tokens}
    return _encoder.encode({"object": "list", "data": data, "model": model, "usage": usage})


def _base64_floats(vector: tuple[float, ...]) -> str:
    """32-bit floats, little-endian as on every machine this runs on."""
    return base64.b64encode(array("f", vector)).decode()
