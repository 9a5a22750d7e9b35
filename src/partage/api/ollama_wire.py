"""Ollama's requests as types, and into the domain."""

from __future__ import annotations

from typing import Any

import msgspec

from partage.api.conversation import conversation
from partage.api.images import image_of
from partage.domain import Model
from partage.errors import InvalidRequest
from partage.work import Message, OutputFormat, ToolCall


class FunctionIn(msgspec.Struct):
    name: str
    arguments: dict[str, Any] | str = {}


class ToolCallIn(msgspec.Struct):
    function: FunctionIn
    id: str = ""


class MessageIn(msgspec.Struct):
    role: str
    content: str | None = None
    thinking: str | None = None
    images: list[bytes] | None = None
    tool_calls: list[ToolCallIn] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class _Named(msgspec.Struct, kw_only=True):
    model: str = ""
    name: str = ""
    """What `model` was called before 0.2; some clients still send it."""

    @property
    def model_name(self) -> str:
        if not (named := self.model or self.name):
            raise InvalidRequest("model is required", field="model")
        return named


class _Inference(_Named, kw_only=True):
    options: dict[str, Any] | None = None
    keep_alive: float | str | None = None


class _Generation(_Inference, kw_only=True):
    stream: bool | None = None
    format: str | dict[str, Any] | None = None
    think: bool | str | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    truncate: bool | None = None


class ChatIn(_Generation, kw_only=True):
    messages: list[MessageIn] | None = None
    tools: list[dict[str, Any]] | None = None


class GenerateIn(_Generation, kw_only=True):
    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    context: list[int] | None = None
    raw: bool | None = None
    images: list[bytes] | None = None


class EmbedIn(_Inference, kw_only=True):
    input: str | list[str] | None = None
    truncate: bool | None = None
    dimensions: int | None = None


class EmbeddingsIn(_Inference, kw_only=True):
    prompt: str | None = None


class ShowIn(_Named, kw_only=True):
    verbose: bool | None = None


class PullIn(_Named, kw_only=True):
    stream: bool | None = None
    insecure: bool | None = None


class CreateIn(_Named, kw_only=True, rename={"from_": "from"}):
    from_: str | None = None
    files: dict[str, str] | None = None
    """File name -> digest of a blob that was sent."""
    adapters: dict[str, str] | None = None
    template: str | None = None
    license: str | list[str] | None = None
    system: str | None = None
    parameters: dict[str, bool | int | float | str | list[str]] | None = None
    messages: list[MessageIn] | None = None
    quantize: str | None = None
    quantization: str | None = None
    """What `quantize` was called before."""
    modelfile: str | None = None
    path: str | None = None
    stream: bool | None = None


class CopyIn(msgspec.Struct):
    source: str
    destination: str


class DeleteIn(_Named, kw_only=True):
    pass


def messages_of(asked: list[MessageIn], model: Model) -> tuple[Message, ...]:
    """The conversation; the model's own system prompt leads it where it brings none. Raises InvalidRequest."""
    messages = tuple(_message(message, f"messages[{index}]") for index, message in enumerate(asked))
    return conversation(model, messages)


def _message(asked: MessageIn, field: str) -> Message:
    if not asked.role:
        raise InvalidRequest(f"{field}.role is required", field=f"{field}.role")
    return Message(
        role=asked.role.lower(),  # any: templates know more than the four, such as Granite's "control"
        content=asked.content or "",
        images=tuple(image_of(data, f"{field}.images[{index}]") for index, data in enumerate(asked.images or ())),
        thinking=asked.thinking or "",
        tool_calls=tuple(_tool_call(call, index) for index, call in enumerate(asked.tool_calls or ())),
        tool_call_id=asked.tool_call_id or "",
        tool_name=asked.tool_name or "",
    )


def _tool_call(call: ToolCallIn, index: int) -> ToolCall:
    arguments = call.function.arguments
    text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
    return ToolCall(id=call.id or f"call_{index}", name=call.function.name, arguments=text)


def format_of(asked: str | dict[str, Any] | None) -> OutputFormat:
    match asked:
        case None | "":
            return None
        case "json":
            return "json"
        case dict():
            return asked
        case _:
            message = f'format: "{asked[:40]}" is unknown; send "json" or a JSON Schema'
            raise InvalidRequest(message, field="format")
