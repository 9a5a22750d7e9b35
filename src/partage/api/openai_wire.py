"""OpenAI's requests as types, and into the domain."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import msgspec

from partage.api.conversation import conversation
from partage.api.images import image_of_url, url_of_image
from partage.domain import Model
from partage.errors import InvalidRequest, Unsupported
from partage.work import Image, Message, OutputFormat, ToolCall

ROLES = {
    "system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool", "function": "tool",
}  # fmt: skip
"""Theirs -> ours."""


class ImageUrl(msgspec.Struct):
    url: str


class ContentPart(msgspec.Struct):
    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: ImageUrl | str | None = None


class FunctionIn(msgspec.Struct):
    name: str
    arguments: str | dict[str, Any] | None = None


class ToolCallIn(msgspec.Struct):
    function: FunctionIn
    id: str = ""


class MessageIn(msgspec.Struct):
    role: str
    content: str | list[ContentPart] | None = None
    name: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    """What vLLM and DeepSeek call `reasoning`."""
    tool_calls: list[ToolCallIn] | None = None
    tool_call_id: str | None = None


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class JsonSchema(msgspec.Struct):
    schema: dict[str, Any] | None = None


class ResponseFormat(msgspec.Struct):
    type: str
    json_schema: JsonSchema | None = None
    schema: dict[str, Any] | None = None
    """Of `json_object`, as llama.cpp has it."""


class Reasoning(msgspec.Struct):
    effort: str | None = None


class TemplateSettings(msgspec.Struct):
    enable_thinking: bool | None = None


class _Named(msgspec.Struct, kw_only=True):
    model: str
    keep_alive: float | str | None = None
    """Ours, as in Ollama's dialect."""
    options: dict[str, Any] | None = None
    """Ours: Ollama's options, num_ctx among them."""


class _Generation(_Named, kw_only=True):
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    n: int | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    response_format: ResponseFormat | None = None

    @property
    def includes_usage(self) -> bool:
        return self.stream_options is not None and bool(self.stream_options.include_usage)


class ChatIn(_Generation, kw_only=True):
    messages: list[MessageIn]
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    reasoning_effort: str | None = None
    reasoning: Reasoning | None = None
    """As Ollama has it here, and OpenAI in Responses."""
    chat_template_kwargs: TemplateSettings | None = None
    """As vLLM and llama.cpp have it."""
    functions: list[dict[str, Any]] | None = None

    @property
    def think(self) -> bool | str | None:
        effort = self.reasoning_effort or (self.reasoning and self.reasoning.effort)
        if effort:
            return False if effort == "none" else effort
        return self.chat_template_kwargs and self.chat_template_kwargs.enable_thinking


class CompletionIn(_Generation, kw_only=True):
    prompt: str | list[str | int | list[int]] | None = None
    suffix: str | None = None
    logprobs: int | None = None
    echo: bool | None = None
    best_of: int | None = None


class EmbeddingsIn(_Named, kw_only=True):
    input: str | list[str | int | list[int]]
    encoding_format: str | None = None
    dimensions: int | None = None


def option_fields(asked: _Generation, max_tokens: int | None) -> dict[str, Any]:
    """The sampling options that have fields of their own here, under Ollama's names."""
    return {
        "num_predict": max_tokens,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "top_k": asked.top_k,
        "min_p": asked.min_p,
        "seed": asked.seed,
        "stop": asked.stop,
        "presence_penalty": asked.presence_penalty,
        "frequency_penalty": asked.frequency_penalty,
    }


def messages_of(asked: list[MessageIn], model: Model) -> tuple[Message, ...]:
    """The conversation; the model's own system prompt leads it where it brings none. Raises RequestError."""
    if not asked:
        raise InvalidRequest("messages: at least one is needed", field="messages")
    messages = tuple(_message(message, f"messages[{index}]") for index, message in enumerate(asked))
    return conversation(model, messages)


def _message(asked: MessageIn, field: str) -> Message:
    role = ROLES.get(asked.role)
    if role is None:
        message = f'{field}.role: "{asked.role[:40]}" is none of {", ".join(ROLES)}'
        raise InvalidRequest(message, field=f"{field}.role")
    text, images = _content(asked.content, f"{field}.content")
    calls = asked.tool_calls or ()
    return Message(
        role=role,
        content=text,
        images=images,
        thinking=asked.reasoning or asked.reasoning_content or "",
        tool_calls=tuple(
            ToolCall(id=call.id, name=call.function.name, arguments=_json_text(call.function.arguments))
            for call in calls
        ),
        tool_call_id=asked.tool_call_id or "",
        tool_name=(asked.name or "") if role == "tool" else "",
    )


def _json_text(arguments: str | dict[str, Any] | None) -> str:
    return msgspec.json.encode(arguments).decode() if isinstance(arguments, dict) else arguments or "{}"


def _content(content: str | list[ContentPart] | None, field: str) -> tuple[str, tuple[Image, ...]]:
    if content is None or isinstance(content, str):
        return content or "", ()
    texts: list[str] = []
    images: list[Image] = []
    for index, part in enumerate(content):
        where = f"{field}[{index}]"
        match part.type:
            case "text" if part.text is not None:
                texts.append(part.text)
            case "refusal":
                texts.append(part.refusal or "")
            case "image_url" if part.image_url is not None:
                url = part.image_url if isinstance(part.image_url, str) else part.image_url.url
                images.append(image_of_url(url, f"{where}.image_url"))
            case "text" | "image_url":
                raise InvalidRequest(f"{where}.{part.type} is required", field=f"{where}.{part.type}")
            case _:
                raise Unsupported(f'{where}: "{part.type[:40]}" is not supported; send text or image_url parts')
    return "\n".join(texts), tuple(images)


def pictures_of(asked: list[MessageIn]) -> Iterator[tuple[str, Callable[[Image], None]]]:
    """The URL of each picture, and how to put the picture itself in its place."""
    for message in asked:
        for part in message.content if isinstance(message.content, list) else ():
            if part.image_url is not None:
                url = part.image_url if isinstance(part.image_url, str) else part.image_url.url
                yield url, partial(_put, part)


def _put(part: ContentPart, image: Image) -> None:
    part.image_url = url_of_image(image)


def format_of(asked: ResponseFormat | None) -> OutputFormat:
    if asked is None or asked.type == "text":
        return None
    if asked.type == "json_object":
        return asked.schema or "json"
    if asked.type != "json_schema":
        message = f'response_format.type: "{asked.type[:40]}" is none of text, json_object, json_schema'
        raise InvalidRequest(message, field="response_format.type")
    if asked.json_schema is None or asked.json_schema.schema is None:
        field = "response_format.json_schema.schema"
        raise InvalidRequest(f"{field} is required", field=field)
    return asked.json_schema.schema


def bias_of(asked: Mapping[str, float] | None, model: Model) -> Mapping[str, float]:
    """Raises InvalidRequest that names every key and value that is wrong."""
    known = model.anatomy.vocab_tokens
    bias = asked or {}
    strangers = [key for key in bias if not key.isdecimal() or (known and int(key) >= known)]
    if strangers:
        named = ", ".join(f'"{key[:40]}"' for key in strangers[:8])
        raise InvalidRequest(f"logit_bias: {named} is no token id of this model, which has {known}", field="logit_bias")
    if any(not -100 <= value <= 100 for value in bias.values()):
        raise InvalidRequest("logit_bias: a bias is from -100 to 100", field="logit_bias")
    return bias


def inputs_of(
    asked: str | list[str | int | list[int]], field: str, model: Model
) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    """(texts, token ids) to embed or to continue; one of them is empty. Raises InvalidRequest."""
    if isinstance(asked, str):
        return (asked,), ()
    if not asked:
        raise InvalidRequest(f"{field}: at least one text is needed", field=field)
    texts = tuple(one for one in asked if isinstance(one, str))
    ids = tuple(one for one in asked if isinstance(one, int))
    lists = tuple(tuple(one) for one in asked if isinstance(one, list))
    if len(asked) not in {len(texts), len(ids), len(lists)}:
        raise InvalidRequest(f"{field}: texts, token ids or lists of token ids, but not a mixture", field=field)
    tokens = (ids,) if ids else lists
    _check_tokens(tokens, field, model.anatomy.vocab_tokens)
    return texts, tokens


def _check_tokens(tokens: tuple[tuple[int, ...], ...], field: str, known: int) -> None:
    """`known` is 0 where nobody knows the vocabulary."""
    if not all(tokens):
        raise InvalidRequest(f"{field}: an empty list of tokens says nothing", field=field)
    if known and any(not 0 <= one < known for ids in tokens for one in ids):
        raise InvalidRequest(
            f"{field}: a token id is outside this model's vocabulary ({known}); ids of another tokenizer mean nothing here, "
            "send the text itself (in LangChain: check_embedding_ctx_length=False)",
            field=field,
        )
