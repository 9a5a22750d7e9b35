"""What the hub's Ollama-style API says on the wire, and our nouns made of it (seconds and bytes, not nanoseconds)."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from partage.json_value import JsonObject
from partage.work import Message, ToolCall, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    name: str
    size_bytes: int = 0
    capabilities: frozenset[str] = frozenset()
    """Values of domain.Capability; other servers may send more."""
    details: Mapping[str, str] = field(default_factory=dict[str, str])
    """format, family, parameter_size ("135M"), quantization_level, as far as known."""

    @property
    def can_chat(self) -> bool:
        return not self.capabilities.isdisjoint({"chat", "completion"})

    @property
    def parameters(self) -> float | None:
        """How many weights the model has; None where the hub does not say."""
        return parameter_count(self.details.get("parameter_size", ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningModel:
    name: str
    size_bytes: int
    vram_bytes: int
    context_tokens: int
    expires_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatAnswer:
    text: str
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str = "stop"
    usage: Usage = field(default_factory=Usage)
    load_s: float = 0.0
    total_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatPiece:
    """The next piece of an answer; the last has `done` set and carries the figures."""

    text: str = ""
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    done: bool = False
    finish_reason: str = ""
    usage: Usage = field(default_factory=Usage)
    load_s: float = 0.0
    total_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PullProgress:
    status: str
    digest: str = ""
    total_bytes: int = 0
    completed_bytes: int = 0


class WireFunction(msgspec.Struct):
    name: str
    arguments: msgspec.Raw = msgspec.Raw(b"{}")


class WireToolCall(msgspec.Struct):
    function: WireFunction
    id: str = ""


class WireMessage(msgspec.Struct):
    content: str = ""
    thinking: str = ""
    tool_calls: list[WireToolCall] | None = None


class ChatLine(msgspec.Struct):
    message: WireMessage = msgspec.field(default_factory=WireMessage)
    done: bool = False
    done_reason: str = ""
    total_duration: int = 0
    load_duration: int = 0
    prompt_eval_count: int = 0
    prompt_eval_duration: int = 0
    eval_count: int = 0
    eval_duration: int = 0

    def piece(self) -> ChatPiece:
        return ChatPiece(
            text=self.message.content,
            thinking=self.message.thinking,
            tool_calls=tuple(
                ToolCall(id=call.id, name=call.function.name, arguments=bytes(call.function.arguments).decode())
                for call in self.message.tool_calls or ()
            ),
            done=self.done,
            finish_reason=self.done_reason,
            usage=Usage(
                prompt_tokens=self.prompt_eval_count,
                output_tokens=self.eval_count,
                prefill_s=self.prompt_eval_duration / 1e9,
                decode_s=self.eval_duration / 1e9,
            ),
            load_s=self.load_duration / 1e9,
            total_s=self.total_duration / 1e9,
        )


class PullLine(msgspec.Struct):
    status: str = ""
    digest: str = ""
    total: int = 0
    completed: int = 0


class Embeddings(msgspec.Struct):
    embeddings: list[list[float]]


class TaggedModel(msgspec.Struct):
    name: str
    size: int = 0
    details: dict[str, object] | None = None
    capabilities: list[str] | None = None

    def info(self, capabilities: Sequence[str]) -> ModelInfo:
        details = {key: value for key, value in (self.details or {}).items() if isinstance(value, str)}
        return ModelInfo(name=self.name, size_bytes=self.size, capabilities=frozenset(capabilities), details=details)


class Tags(msgspec.Struct):
    models: list[TaggedModel]


class LoadedModel(msgspec.Struct):
    name: str
    size: int = 0
    size_vram: int = 0
    context_length: int = 0
    expires_at: str = ""


class Running(msgspec.Struct):
    models: list[LoadedModel]


class Shown(msgspec.Struct):
    capabilities: list[str] = []


def wire_message(message: Message) -> JsonObject:
    wire: JsonObject = {"role": message.role, "content": message.content}
    if message.images:
        wire["images"] = [base64.b64encode(image.data).decode() for image in message.images]
    if message.thinking:
        wire["thinking"] = message.thinking
    if message.tool_calls:
        wire["tool_calls"] = [
            {"function": {"name": call.name, "arguments": msgspec.json.decode(call.arguments or "{}")}}
            for call in message.tool_calls
        ]
    if message.tool_name:
        wire["tool_name"] = message.tool_name
    return wire


def parameter_count(text: str) -> float | None:
    """Read 135e6 out of "135M", 1.7e9 out of "1.7B"; None out of what is no such size."""
    scale = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}.get(text[-1:].upper())
    try:
        return float(text[:-1]) * scale if scale else None
    except ValueError:
        return None
