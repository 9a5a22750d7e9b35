"""Anthropic's requests as types, and into the domain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgspec

from partage.api.admission import opened_by
from partage.api.images import image_of
from partage.domain import Model
from partage.errors import InvalidRequest, Unsupported
from partage.json_value import JsonObject, JsonValue
from partage.work import Image, Message, ToolCall


class Source(msgspec.Struct):
    type: str
    data: bytes = b""
    url: str = ""


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
    content: str | list[Block] = ""


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
        messages.append(Message(role="system", content=_text(asked.system, "system")))
    for index, message in enumerate(asked.messages):
        messages += _messages(message, f"messages[{index}]")
    return opened_by(model, tuple(messages))


def _messages(asked: MessageIn, field: str) -> list[Message]:
    """One of theirs can be several of ours: results of tools are messages of their own here."""
    if asked.role not in {"user", "assistant"}:
        message = f'{field}.role: "{asked.role[:40]}" is none of user, assistant'
        raise InvalidRequest(message, field=f"{field}.role")
    if isinstance(asked.content, str):
        return [Message(role=asked.role, content=asked.content)]
    results: list[Message] = []
    texts: list[str] = []
    thoughts: list[str] = []
    images: list[Image] = []
    calls: list[ToolCall] = []
    for index, block in enumerate(asked.content):
        where = f"{field}.content[{index}]"
        match block.type:
            case "text":
                texts.append(block.text)
            case "image":
                images.append(_image(block, where))
            case "thinking":
                thoughts.append(block.thinking)
            case "redacted_thinking":
                pass
            case "tool_use":
                calls.append(
                    ToolCall(id=block.id, name=block.name, arguments=msgspec.json.encode(block.input).decode())
                )
            case "tool_result":
                results.append(
                    Message(role="tool", content=_text(block.content, where), tool_call_id=block.tool_use_id)
                )
            case _:
                raise Unsupported(f'{where}: "{block.type[:40]}" blocks are not supported')
    if not (texts or thoughts or images or calls):
        return results
    said = Message(
        role=asked.role,
        content="\n".join(texts),
        images=tuple(images),
        thinking="\n".join(thoughts),
        tool_calls=tuple(calls),
    )
    return [*results, said]


def _image(block: Block, field: str) -> Image:
    if block.source is None or block.source.type != "base64":
        raise Unsupported(f"{field}: send pictures as base64; URLs are fetched where hub.fetch_images allows it")
    return image_of(block.source.data, f"{field}.source.data")


def pictures_of(asked: MessagesIn) -> Iterator[tuple[str, Callable[[Image], None]]]:
    """The URL of each picture, and how to put the picture itself in its place."""
    for message in asked.messages:
        for block in message.content if isinstance(message.content, list) else ():
            if block.source is not None and block.source.type == "url":
                yield block.source.url, partial(_put, block.source)


def _put(source: Source, image: Image) -> None:
    source.type, source.data = "base64", image.data


def _text(content: str | list[Block], field: str) -> str:
    if isinstance(content, str):
        return content
    if any(block.type != "text" for block in content):
        raise Unsupported(f"{field}: only text is supported here")
    return "\n".join(block.text for block in content)


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


def think_of(asked: Thinking | None) -> bool | None:
    match asked:
        case Thinking(type="enabled"):
            return True
        case Thinking(type="disabled"):
            return False
        case _:  # "adaptive", or nothing said: as the model likes
            return None
