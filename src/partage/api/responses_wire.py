"""Requests of OpenAI's /v1/responses as types, and into the domain. Nothing is kept: each brings its whole conversation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgspec

from partage.api.conversation import conversation
from partage.api.images import image_of_url, url_of_image
from partage.api.openai_wire import ROLES
from partage.domain import Model
from partage.errors import InvalidRequest, Unsupported
from partage.json_value import JsonObject, JsonValue
from partage.work import Image, Message, OutputFormat, ToolCall

LOGPROBS = "message.output_text.logprobs"
"""In `include`: log probabilities are wanted."""


class Part(msgspec.Struct):
    type: str
    text: str | None = None
    image_url: str | None = None
    refusal: str | None = None


class Item(msgspec.Struct):
    """One item of the input: which fields it has depends on its type."""

    type: str = "message"
    role: str = ""
    content: str | list[Part] | None = None
    summary: list[Part] = []
    call_id: str = ""
    name: str = ""
    arguments: str = ""
    output: str | list[Part] | None = None


class Tool(msgspec.Struct):
    type: str
    name: str = ""
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Format(msgspec.Struct):
    type: str
    name: str | None = None
    schema: dict[str, Any] | None = None


class Text(msgspec.Struct):
    format: Format | None = None


class Reasoning(msgspec.Struct):
    effort: str | None = None


class ResponsesIn(msgspec.Struct, kw_only=True):
    model: str
    input: str | list[Item]
    instructions: str | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: int | None = None
    include: list[str] | None = None
    tools: list[Tool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    text: Text | None = None
    reasoning: Reasoning | None = None
    stream: bool | None = None
    metadata: dict[str, Any] | None = None
    previous_response_id: str | None = None
    conversation: str | dict[str, Any] | None = None
    prompt: dict[str, Any] | None = None
    background: bool | None = None
    keep_alive: float | str | None = None
    """Ours, as in Ollama's dialect; `options` too."""
    options: dict[str, Any] | None = None


def refuse_state(asked: ResponsesIn) -> None:
    """Raises Unsupported for what would need answers to be kept here."""
    for name in ("previous_response_id", "conversation", "prompt"):
        if getattr(asked, name):
            raise Unsupported(f"{name}: nothing is kept here between requests; send the whole conversation as input")
    if asked.background:
        raise Unsupported("background: answers are not kept here; stream the answer instead")


def option_fields(asked: ResponsesIn) -> dict[str, Any]:
    """The sampling options that have fields of their own here, under Ollama's names."""
    return {"num_predict": asked.max_output_tokens, "temperature": asked.temperature, "top_p": asked.top_p}


def messages_of(asked: ResponsesIn, model: Model) -> tuple[Message, ...]:
    """The conversation, led by the instructions, or the model's own system prompt. Raises RequestError."""
    items = [Item(role="user", content=asked.input)] if isinstance(asked.input, str) else asked.input
    if not items:
        raise InvalidRequest("input: at least one item is needed", field="input")
    led = (Message(role="system", content=asked.instructions),) if asked.instructions else ()
    said = (_message(item, f"input[{index}]") for index, item in enumerate(items))
    # Thoughts, words and calls of one turn are items of their own here.
    return conversation(model, (*led, *said))


def _message(item: Item, field: str) -> Message:
    match item.type:
        case "message":
            return _said(item, field)
        case "reasoning":
            parts = item.content if isinstance(item.content, list) else []
            return Message(role="assistant", thinking="\n".join(part.text or "" for part in (*item.summary, *parts)))
        case "function_call":
            call = ToolCall(id=item.call_id, name=item.name, arguments=item.arguments)
            return Message(role="assistant", tool_calls=(call,))
        case "function_call_output":
            text, images = _content(item.output or "", f"{field}.output")
            return Message(role="tool", content=text, images=images, tool_call_id=item.call_id)
        case _:
            raise Unsupported(f'{field}: "{item.type[:40]}" items are not supported')


def _said(item: Item, field: str) -> Message:
    role = ROLES.get(item.role)
    if role is None or role == "tool":
        message = f'{field}.role: "{item.role[:40]}" is none of system, developer, user, assistant'
        raise InvalidRequest(message, field=f"{field}.role")
    text, images = _content(item.content or "", f"{field}.content")
    return Message(role=role, content=text, images=images)


def _content(content: str | list[Part], field: str) -> tuple[str, tuple[Image, ...]]:
    if isinstance(content, str):
        return content, ()
    texts: list[str] = []
    images: list[Image] = []
    for index, part in enumerate(content):
        where = f"{field}[{index}]"
        match part.type:
            case "input_text" | "output_text" | "text":
                texts.append(part.text or "")
            case "refusal":
                texts.append(part.refusal or "")
            case "input_image" if part.image_url is not None:
                images.append(image_of_url(part.image_url, f"{where}.image_url"))
            case _:
                raise Unsupported(f'{where}: "{part.type[:40]}" is not supported; send input_text or input_image parts')
    return "\n".join(texts), tuple(images)


def pictures_of(asked: ResponsesIn) -> Iterator[tuple[str, Callable[[Image], None]]]:
    """The URL of each picture, and how to put the picture itself in its place."""
    for item in asked.input if isinstance(asked.input, list) else ():
        for content in (item.content, item.output):
            for part in content if isinstance(content, list) else ():
                if part.image_url is not None:
                    yield part.image_url, partial(_put, part)


def _put(part: Part, image: Image) -> None:
    part.image_url = url_of_image(image)


def tools_of(asked: list[Tool] | None) -> tuple[JsonObject, ...]:
    """The client's own functions. Other tools beside them are left out: Codex offers a web search with every request."""
    functions = [tool for tool in asked or () if tool.type == "function"]
    if asked and not functions:
        raise Unsupported(
            f'tools: "{asked[0].type[:40]}" runs on OpenAI\'s servers; only functions of your own are supported'
        )
    return tuple(map(_tool, functions))


def _tool(tool: Tool) -> JsonObject:
    function: JsonObject = {"name": tool.name, "parameters": tool.parameters or {"type": "object"}}
    if tool.description is not None:
        function["description"] = tool.description
    return {"type": "function", "function": function}


def tool_choice_of(asked: str | dict[str, Any] | None) -> JsonValue:
    match asked:
        case {"type": "function", "name": str() as name}:
            return {"type": "function", "function": {"name": name}}
        case None | "auto" | "none" | "required":
            return asked
        case _:
            message = 'tool_choice: expected "auto", "none", "required" or {"type": "function", "name": ...}'
            raise InvalidRequest(message, field="tool_choice")


def format_of(asked: Text | None) -> OutputFormat:
    match asked and asked.format:
        case None | Format(type="text"):
            return None
        case Format(type="json_object"):
            return "json"
        case Format(type="json_schema", schema=dict() as schema):
            return schema
        case Format(type="json_schema"):
            raise InvalidRequest("text.format.schema is required", field="text.format.schema")
        case Format(type=other):
            message = f'text.format.type: "{other[:40]}" is none of text, json_object, json_schema'
            raise InvalidRequest(message, field="text.format.type")
