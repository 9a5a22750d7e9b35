"""Anthropic's requests as types, and into the domain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgspec

from partage.api.conversation import conversation
from partage.api.images import image_of_base64, url_of_image
from partage.domain import Capability, Model
from partage.errors import InvalidRequest, Unsupported
from partage.json_value import JsonObject, JsonValue
from partage.work import Image, Message, OutputFormat, ToolCall

ROLES = ("user", "assistant", "system")
BILLING = "x-anthropic-billing-header:"
"""Claude Code begins a system block with it that differs with every request: no prompt would be found in the cache."""


class Source(msgspec.Struct):
    type: str = "base64"
    data: str = ""
    url: str = ""
    content: str | list[Block] = ""


class Block(msgspec.Struct):
    """One block of a message: which fields it has depends on its type."""

    type: str
    text: str = ""
    thinking: str = ""
    source: Source | None = None
    id: str = ""
    name: str = ""
    input: dict[str, Any] = {}
    tool_use_id: str = ""
    content: str | list[Block] | None = None


class MessageIn(msgspec.Struct):
    role: str
    content: str | list[Block]


class ToolIn(msgspec.Struct):
    name: str
    description: str = ""
    input_schema: dict[str, Any] | None = None


class ToolChoice(msgspec.Struct):
    type: str
    name: str = ""


class Thinking(msgspec.Struct):
    type: str


class Format(msgspec.Struct):
    type: str
    schema: dict[str, Any] | None = None


class OutputConfig(msgspec.Struct):
    effort: str | None = None
    format: Format | None = None


class MessagesIn(msgspec.Struct, kw_only=True):
    model: str
    messages: list[MessageIn]
    max_tokens: int | None = None
    """Required, but not where tokens are only counted."""
    system: str | list[Block] | None = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    tools: list[ToolIn] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    keep_alive: float | str | None = None
    """Ours, as in Ollama's dialect; `options` too."""
    options: dict[str, Any] | None = None


def option_fields(asked: MessagesIn) -> dict[str, Any]:
    """The sampling options that have fields of their own here, under Ollama's names."""
    return {
        "num_predict": asked.max_tokens,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "top_k": asked.top_k,
        "stop": asked.stop_sequences,
    }


def messages_of(asked: MessagesIn, model: Model) -> tuple[Message, ...]:
    """The conversation, led by the system prompt: the client's, else the model's own. Raises RequestError."""
    if not asked.messages:
        raise InvalidRequest("messages: at least one is needed", field="messages")
    messages: list[Message] = []
    if asked.system is not None:
        messages.append(Message(role="system", content=_system(asked.system)))
    for index, message in enumerate(asked.messages):
        messages += _messages(message, f"messages[{index}]")
    return conversation(model, tuple(messages))


def _system(system: str | list[Block]) -> str:
    if isinstance(system, str):
        return "" if system.startswith(BILLING) else system
    return _content([block for block in system if not block.text.startswith(BILLING)], "system")[0]


def _messages(asked: MessageIn, field: str) -> list[Message]:
    """One of theirs can be several of ours: results of tools are messages of their own here."""
    if asked.role not in ROLES:
        message = f'{field}.role: "{asked.role[:40]}" is none of {", ".join(ROLES)}'
        raise InvalidRequest(message, field=f"{field}.role")
    if asked.role == "system":
        prompt = _system(asked.content)
        return [Message(role="system", content=prompt)] if prompt else []
    if isinstance(asked.content, str):
        return [Message(role=asked.role, content=asked.content)]
    results: list[Message] = []
    said: list[Block] = []
    thoughts: list[str] = []
    calls: list[ToolCall] = []
    for index, block in enumerate(asked.content):
        match block.type:
            case "thinking":
                thoughts.append(block.thinking)
            case "redacted_thinking":
                pass
            case "tool_use":
                arguments = msgspec.json.encode(block.input).decode()
                calls.append(ToolCall(id=block.id, name=block.name, arguments=arguments))
            case "tool_result":
                text, images = _content(block.content or "", f"{field}.content[{index}].content")
                results.append(Message(role="tool", content=text, images=images, tool_call_id=block.tool_use_id))
            case _:
                said.append(block)
    if not (said or thoughts or calls):
        return results
    text, images = _content(said, f"{field}.content")
    thinking = "\n".join(thoughts)
    return [
        *results,
        Message(role=asked.role, content=text, images=images, thinking=thinking, tool_calls=tuple(calls)),
    ]


def _content(content: str | list[Block], field: str) -> tuple[str, tuple[Image, ...]]:
    """Texts and pictures, of a message or of what a tool gave. Raises InvalidRequest, Unsupported."""
    if isinstance(content, str):
        return content, ()
    texts: list[str] = []
    images: list[Image] = []
    for index, block in enumerate(content):
        where = f"{field}[{index}]"
        match block:
            case Block(type="text"):
                texts.append(block.text)
            case Block(type="image"):
                images.append(_image(block, where))
            case Block(type="document", source=Source(type="text", data=text)):
                texts.append(text)
            case Block(type="document", source=Source(type="content", content=parts)):
                text, found = _content(parts, f"{where}.source.content")
                texts.append(text)
                images += found
            case _:
                raise Unsupported(f'{where}: "{block.type[:40]}" blocks of this kind are not supported; send text')
    return "\n".join(texts), tuple(images)


def _image(block: Block, field: str) -> Image:
    if block.source is None or block.source.type != "base64":
        raise Unsupported(f"{field}: send pictures as base64; URLs are fetched where hub.fetch_images allows it")
    return image_of_base64(block.source.data, f"{field}.source.data")


def pictures_of(asked: MessagesIn) -> Iterator[tuple[str, Callable[[Image], None]]]:
    """The URL of each picture, and how to put the picture itself in its place."""
    for message in asked.messages:
        for block in message.content if isinstance(message.content, list) else ():
            for one in (block, *(block.content if isinstance(block.content, list) else ())):
                if one.type == "image" and one.source is not None and one.source.type == "url":
                    yield one.source.url, partial(_put, one.source)


def _put(source: Source, image: Image) -> None:
    source.type, source.data = "base64", url_of_image(image).partition(",")[2]


def tools_of(asked: list[ToolIn] | None) -> tuple[JsonObject, ...]:
    return tuple(_tool(tool) for tool in asked or ())


def _tool(tool: ToolIn) -> JsonObject:
    if tool.input_schema is None:
        raise Unsupported(
            f'tools: "{tool.name[:40]}" runs on Anthropic\'s servers; only tools of your own are supported'
        )
    function: JsonObject = {"name": tool.name, "description": tool.description, "parameters": tool.input_schema}
    return {"type": "function", "function": function}


def tool_choice_of(asked: ToolChoice | None) -> JsonValue:
    match asked:
        case None:
            return None
        case ToolChoice(type="any"):
            return "required"
        case ToolChoice(type="tool", name=name):
            return {"type": "function", "function": {"name": name}}
        case ToolChoice(type="auto" | "none" as choice):
            return choice
        case _:
            message = f'tool_choice.type: "{asked.type[:40]}" is none of auto, any, tool, none'
            raise InvalidRequest(message, field="tool_choice.type")


def think_of(asked: MessagesIn, model: Model) -> bool | str | None:
    """Claude Code asks every model to think: one that cannot is not asked to. As Ollama has it in this dialect."""
    if model.capabilities and Capability.THINKING not in model.capabilities:
        return None
    match asked.thinking:
        case Thinking(type="enabled"):
            return True
        case Thinking(type="disabled"):
            return False
        case _:  # "adaptive", or nothing said: as much as the client says, else as the model likes
            return (asked.output_config and asked.output_config.effort) or None


def format_of(asked: OutputConfig | None) -> OutputFormat:
    match asked and asked.format:
        case None:
            return None
        case Format(type="json_schema", schema=dict() as schema):
            return schema
        case _:
            field = "output_config.format"
            raise InvalidRequest(f'{field}: expected {{"type": "json_schema", "schema": ...}}', field=field)
