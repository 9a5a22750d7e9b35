"""Answers as Anthropic writes them: named server-sent events, or one message of blocks."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from partage.api.ollama_answers import tool_calls_out
from partage.api.streaming import SSE, Answer
from partage.hub.views import QueuePosition, Timing
from partage.json_value import JsonObject
from partage.work import Delta, Done, Usage

STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}

BlockKind: TypeAlias = Literal["text", "thinking", "tool_use"]


class TextDelta(msgspec.Struct, tag_field="type", tag="text_delta"):
    text: str


class ThinkingDelta(msgspec.Struct, tag_field="type", tag="thinking_delta"):
    thinking: str


class InputJsonDelta(msgspec.Struct, tag_field="type", tag="input_json_delta"):
    partial_json: str


class SignatureDelta(msgspec.Struct, tag_field="type", tag="signature_delta"):
    signature: str


class BlockDelta(msgspec.Struct, tag_field="type", tag="content_block_delta"):
    index: int
    delta: TextDelta | ThinkingDelta | InputJsonDelta | SignatureDelta


_encoder = msgspec.json.Encoder()


class AnthropicFrames:
    """An answer as events: a message of blocks, each opened, added to, and closed before the next."""

    content_type = SSE
    prompt_tokens = 0

    def __init__(self, id_: str, model: str) -> None:
        self._id = f"msg_{id_}"
        self._model = model
        self._begun = False
        self._index = -1
        self._open: tuple[BlockKind, int] | None = None
        """The block that is written to: its kind, and which tool call it is."""

    def delta(self, delta: Delta) -> bytes:
        events = b"" if self._begun else self._begin()
        if delta.thinking:
            events += self._add("thinking", ThinkingDelta(delta.thinking), {"thinking": "", "signature": ""})
        if delta.text:
            events += self._add("text", TextDelta(delta.text), {"text": ""})
        for call, piece in delta.tool_calls:
            start: JsonObject = {"id": piece.id, "name": piece.name, "input": {}}
            events += self._add("tool_use", InputJsonDelta(piece.arguments), start, call)
        return events

    def done(self, done: Done, timing: Timing) -> bytes:
        events = b"" if self._begun else self._begin()
        delta = _stopped(done.finish_reason, done.stop)
        return (
            events
            + self._close()
            + _event("message_delta", {"type": "message_delta", "delta": delta, "usage": _usage(done.usage)})
            + _event("message_stop", {"type": "message_stop"})
        )

    def silence(self, position: QueuePosition | None) -> bytes:
        return _event("ping", {"type": "ping"})

    def whole(self, answer: Answer) -> bytes:
        content: list[JsonObject] = []
        calls, text = tool_calls_out(answer.tool_calls, answer.text)
        if answer.thinking:
            content.append({"type": "thinking", "thinking": answer.thinking, "signature": ""})
        if text:
            content.append({"type": "text", "text": text})
        content.extend(
            {"type": "tool_use", "id": call.id, "name": call.function.name, "input": call.function.arguments}
            for call in calls
        )
        message = self._message(content, answer.usage) | _stopped(answer.finish_reason, answer.stop)
        return _encoder.encode(message)

    def _begin(self) -> bytes:
        self._begun = True
        message = self._message([], Usage(prompt_tokens=self.prompt_tokens))
        return _event("message_start", {"type": "message_start", "message": message})

    def _message(self, content: list[JsonObject], usage: Usage) -> dict[str, Any]:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": content,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": _usage(usage),
        }

    def _add(
        self, kind: BlockKind, delta: TextDelta | ThinkingDelta | InputJsonDelta, start: JsonObject, call: int = 0
    ) -> bytes:
        events = b""
        if self._open != (kind, call):
            events = self._close()
            self._open = (kind, call)
            self._index += 1
            block: JsonObject = {"type": kind, **start}
            start_event = {"type": "content_block_start", "index": self._index, "content_block": block}
            events += _event("content_block_start", start_event)
        return events + _event("content_block_delta", BlockDelta(self._index, delta))

    def _close(self) -> bytes:
        if self._open is None:
            return b""
        kind, _ = self._open
        self._open = None
        # Nothing is signed here, but clients wait for the signature of a thought.
        signed = (
            _event("content_block_delta", BlockDelta(self._index, SignatureDelta(""))) if kind == "thinking" else b""
        )
        return signed + _event("content_block_stop", {"type": "content_block_stop", "index": self._index})


def _event(name: str, data: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), _encoder.encode(data))


def _stopped(finish_reason: str, stop: str) -> JsonObject:
    if stop and finish_reason == "stop":
        return {"stop_reason": "stop_sequence", "stop_sequence": stop}
    return {"stop_reason": STOP_REASONS.get(finish_reason, "end_turn"), "stop_sequence": None}


def _usage(usage: Usage) -> JsonObject:
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "output_tokens": usage.output_tokens,
    }
