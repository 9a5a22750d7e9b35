"""Answers as Ollama writes them: one JSON object per line, or one object."""

from __future__ import annotations

from typing import Any

import msgspec

from partage.api.durations import nanoseconds, now_rfc3339
from partage.api.memory import remember
from partage.api.streaming import NDJSON, Answer, ToolCallPieces
from partage.hub.views import QueuePosition, Timing
from partage.json_value import JsonObject
from partage.work import Delta, Done, Message, TokenLogprob, ToolCall, Usage


class FunctionOut(msgspec.Struct):
    index: int
    name: str
    arguments: JsonObject


class ToolCallOut(msgspec.Struct):
    id: str
    function: FunctionOut


class MessageOut(msgspec.Struct, omit_defaults=True):
    role: str
    content: str
    thinking: str = ""
    tool_calls: list[ToolCallOut] = []


class LogprobOut(msgspec.Struct, omit_defaults=True):
    token: str
    logprob: float
    bytes: tuple[int, ...] = ()
    top_logprobs: list[LogprobOut] = []


class Part(msgspec.Struct, omit_defaults=True):
    """One line of a streamed answer, or the whole of one that is not. `message` for chat, `response` for generate."""

    model: str
    created_at: str
    done: bool
    message: MessageOut | None = None
    response: str | None = None
    thinking: str = ""
    logprobs: list[LogprobOut] = []
    done_reason: str | None = None
    context: list[int] | None = None
    total_duration: int | None = None
    load_duration: int | None = None
    prompt_eval_count: int | None = None
    prompt_eval_duration: int | None = None
    eval_count: int | None = None
    eval_duration: int | None = None


_encoder = msgspec.json.Encoder()


class OllamaFrames:
    """An answer as lines of JSON: whole tool calls, as Ollama sends them, just before the last line."""

    content_type = NDJSON
    prompt_tokens = 0

    def __init__(self, model: str, *, chat: bool) -> None:
        self._model = model
        self._chat = chat
        self._tool_calls = ToolCallPieces()
        self._remembered: tuple[Message, ...] = ()
        self._texts: list[str] = []

    def remember(self, messages: tuple[Message, ...]) -> None:
        """The last line is to carry them, and the answer, as `context`."""
        self._remembered = messages

    def delta(self, delta: Delta) -> bytes:
        if delta.tool_calls:
            self._tool_calls.add(delta)
            if not delta.text and not delta.thinking:
                return b""
        if self._remembered:
            self._texts.append(delta.text)
        return _line(self._part(delta.text, delta.thinking, logprobs=delta.logprobs))

    def done(self, done: Done, timing: Timing) -> bytes:
        calls = self._tool_calls.take()
        lines = _line(self._part("", "", calls)) if calls else b""
        last = self._part("", "")
        last.context = self._context("".join(self._texts))
        _finish(last, done.finish_reason, done.usage, timing)
        return lines + _line(last)

    def silence(self, position: QueuePosition | None) -> bytes:
        # White space before a JSON value: an empty line would make the official Python client fail.
        return b" "

    def whole(self, answer: Answer) -> bytes:
        part = self._part(answer.text, answer.thinking, answer.tool_calls, tuple(answer.logprobs))
        part.context = self._context(answer.text)
        _finish(part, answer.finish_reason, answer.usage, answer.timing)
        return _encoder.encode(part)

    def _context(self, answer: str) -> list[int] | None:
        return remember(self._remembered, answer) if self._remembered else None

    def bare(self, done_reason: str) -> bytes:
        """The answer to a request that only loads or unloads."""
        part = self._part("", "")
        part.done, part.done_reason = True, done_reason
        return _encoder.encode(part)

    def _part(
        self,
        text: str,
        thinking: str,
        calls: tuple[ToolCall, ...] = (),
        logprobs: tuple[TokenLogprob, ...] = (),
    ) -> Part:
        part = Part(self._model, now_rfc3339(), False)  # noqa: FBT003 - positional: this runs once per token
        if self._chat:
            outs, text = tool_calls_out(calls, text) if calls else ([], text)
            part.message = MessageOut("assistant", text, thinking, outs)
        else:
            part.response, part.thinking = text, thinking
        if logprobs:
            part.logprobs = [logprob_out(logprob) for logprob in logprobs]
        return part


def _line(part: Part) -> bytes:
    return _encoder.encode(part) + b"\n"


def _finish(part: Part, reason: str, usage: Usage, timing: Timing) -> None:
    part.done = True
    # Ollama has no "tool_calls"; its clients look at the message.
    part.done_reason = "stop" if reason == "tool_calls" else reason
    part.total_duration = nanoseconds(timing.total_s)
    part.load_duration = max(1, nanoseconds(timing.load_s))  # clients take 0 for a field that is missing
    part.prompt_eval_count = usage.prompt_tokens
    part.prompt_eval_duration = nanoseconds(usage.prefill_s)
    part.eval_count = usage.output_tokens
    part.eval_duration = nanoseconds(usage.decode_s)


def tool_calls_out(calls: tuple[ToolCall, ...], text: str) -> tuple[list[ToolCallOut], str]:
    """The calls with their arguments as objects. A call cut short (no valid JSON) is given back as text, not lost."""
    outs: list[ToolCallOut] = []
    for index, call in enumerate(calls):
        try:
            arguments = msgspec.json.decode(call.arguments or "{}", type=dict[str, Any])
        except msgspec.MsgspecError:
            text += f"{call.name}({call.arguments}"
            continue
        outs.append(ToolCallOut(call.id, FunctionOut(index, call.name, arguments)))
    return outs, text


def logprob_out(logprob: TokenLogprob) -> LogprobOut:
    return LogprobOut(
        logprob.token,
        logprob.logprob,
        logprob.bytes_ or tuple(logprob.token.encode()),
        [LogprobOut(token, value, tuple(token.encode())) for token, value in logprob.top],
    )
