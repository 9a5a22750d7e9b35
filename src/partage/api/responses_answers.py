"""Answers of OpenAI's /v1/responses: numbered events with names of their own, or one response of output items."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

import msgspec

from partage.api.openai_answers import LogprobOut, logprobs_out
from partage.api.responses_wire import ResponsesIn
from partage.api.streaming import SSE, Answer
from partage.hub.views import QueuePosition, Timing
from partage.work import Delta, Done, TokenLogprob, ToolCall, Usage

Kind: TypeAlias = Literal["reasoning", "message", "function_call"]
Fields: TypeAlias = dict[str, Any]

_encoder = msgspec.json.Encoder()


class _Item:
    """One item of the output, as it grows."""

    def __init__(self, kind: Kind, id_: str, call: ToolCall | None = None) -> None:
        self.kind: Kind = kind
        self.id = f"{ {'reasoning': 'rs', 'message': 'msg', 'function_call': 'fc'}[kind] }_{id_}"
        self.call = call
        self.logprobs: list[LogprobOut] = []
        self._texts: list[str] = []

    def add(self, text: str, logprobs: Iterable[TokenLogprob] = ()) -> list[LogprobOut]:
        self._texts.append(text)
        new = logprobs_out(logprobs)
        self.logprobs += new
        return new

    @property
    def text(self) -> str:
        return "".join(self._texts)

    def part(self) -> Fields:
        if self.kind == "reasoning":
            return {"type": "summary_text", "text": self.text}
        return {"type": "output_text", "text": self.text, "annotations": [], "logprobs": self.logprobs}

    def fields(self, status: str) -> Fields:
        item: Fields = {"id": self.id, "type": self.kind, "status": status}
        parts = [] if status == "in_progress" else [self.part()]
        match self.kind:
            case "reasoning":
                item["summary"] = parts
            case "message":
                item |= {"role": "assistant", "content": parts}
            case "function_call":
                assert self.call is not None
                item |= {"call_id": self.call.id, "name": self.call.name, "arguments": self.text}
        return item


class ResponsesFrames:
    """An answer as events; each item is opened, added to, and closed before the next."""

    content_type = SSE
    prompt_tokens = 0

    def __init__(self, id_: str, asked: ResponsesIn, *, temperature: float | None, top_p: float | None) -> None:
        self._id = id_
        self._asked = asked
        self._drawn = {"temperature": temperature, "top_p": top_p}
        self._created = int(datetime.now(UTC).timestamp())
        self._events = 0
        self._items: list[_Item] = []
        self._open: tuple[Kind, int] | None = None
        """What is written to: its kind, and which call it is."""

    def delta(self, delta: Delta) -> bytes:
        events = self._begin()
        if delta.thinking:
            events += self._turn_to("reasoning")
            self._items[-1].add(delta.thinking)
            events += self._of_item("response.reasoning_summary_text.delta", summary_index=0, delta=delta.thinking)
        if delta.text:
            events += self._turn_to("message")
            new = self._items[-1].add(delta.text, delta.logprobs)
            events += self._of_item("response.output_text.delta", content_index=0, delta=delta.text, logprobs=new)
        for index, piece in delta.tool_calls:
            events += self._turn_to("function_call", index, piece)
            self._items[-1].add(piece.arguments)
            if piece.arguments:
                events += self._of_item("response.function_call_arguments.delta", delta=piece.arguments)
        return events

    def done(self, done: Done, timing: Timing) -> bytes:
        events = self._begin() + self._close()
        response = self._response(done.finish_reason, done.usage)
        return events + self._event(f"response.{response['status']}", response=response)

    def silence(self, position: QueuePosition | None) -> bytes:
        return b": working\n\n" if position is None else b": queued %d\n\n" % position.position

    def whole(self, answer: Answer) -> bytes:
        if answer.thinking:
            self._add("reasoning").add(answer.thinking)
        if answer.text or not answer.tool_calls:
            self._add("message").add(answer.text, answer.logprobs)
        for call in answer.tool_calls:
            self._add("function_call", call).add(call.arguments)
        return _encoder.encode(self._response(answer.finish_reason, answer.usage))

    def _add(self, kind: Kind, call: ToolCall | None = None) -> _Item:
        self._items.append(_Item(kind, f"{self._id}-{len(self._items)}", call))
        return self._items[-1]

    def _turn_to(self, kind: Kind, index: int = 0, call: ToolCall | None = None) -> bytes:
        if self._open == (kind, index):
            return b""
        events = self._close()
        self._open = (kind, index)
        item = self._add(kind, call)
        events += self._event("response.output_item.added", output_index=self._index, item=item.fields("in_progress"))
        match kind:
            case "reasoning":
                events += self._of_item("response.reasoning_summary_part.added", summary_index=0, part=item.part())
            case "message":
                events += self._of_item("response.content_part.added", content_index=0, part=item.part())
            case "function_call":
                pass
        return events

    def _close(self) -> bytes:
        if self._open is None:
            return b""
        self._open = None
        item = self._items[-1]
        text, part = item.text, item.part()
        match item.kind:
            case "reasoning":
                events = self._of_item("response.reasoning_summary_text.done", summary_index=0, text=text)
                events += self._of_item("response.reasoning_summary_part.done", summary_index=0, part=part)
            case "message":
                events = self._of_item("response.output_text.done", content_index=0, text=text, logprobs=item.logprobs)
                events += self._of_item("response.content_part.done", content_index=0, part=part)
            case "function_call":
                name = item.call.name if item.call else ""
                events = self._of_item("response.function_call_arguments.done", name=name, arguments=text)
        fields = item.fields("completed")
        return events + self._event("response.output_item.done", output_index=self._index, item=fields)

    @property
    def _index(self) -> int:
        return len(self._items) - 1

    def _begin(self) -> bytes:
        if self._events:
            return b""
        response = self._response(None, None)
        created = self._event("response.created", response=response)
        return created + self._event("response.in_progress", response=response)

    def _of_item(self, type_: str, **fields: object) -> bytes:
        return self._event(type_, item_id=self._items[-1].id, output_index=self._index, **fields)

    def _event(self, type_: str, **fields: object) -> bytes:
        data = {"type": type_, "sequence_number": self._events, **fields}
        self._events += 1
        return b"event: %s\ndata: %s\n\n" % (type_.encode(), _encoder.encode(data))

    def _response(self, finish_reason: str | None, usage: Usage | None) -> Fields:
        """The whole of it so far; without a reason it goes on."""
        asked = self._asked
        cut = finish_reason == "length"
        status = "in_progress" if finish_reason is None else "incomplete" if cut else "completed"
        return {
            "id": f"resp_{self._id}",
            "object": "response",
            "created_at": self._created,
            "completed_at": int(datetime.now(UTC).timestamp()) if status == "completed" else None,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "instructions": asked.instructions,
            "max_output_tokens": asked.max_output_tokens,
            "metadata": asked.metadata or {},
            "model": asked.model,
            "output": [item.fields(status) for item in self._items],
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "reasoning": {"effort": asked.reasoning.effort if asked.reasoning else None, "summary": None},
            "service_tier": "default",
            "store": False,
            **self._drawn,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "top_logprobs": asked.top_logprobs or 0,
            "max_tool_calls": None,
            "prompt_cache_key": None,
            "safety_identifier": None,
            "text": asked.text or {"format": {"type": "text"}},
            "tool_choice": asked.tool_choice or "auto",
            "tools": asked.tools or [],
            "truncation": "disabled",
            "usage": None if usage is None else _usage(usage),
        }


def _usage(usage: Usage) -> Fields:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt_tokens + usage.output_tokens,
    }
