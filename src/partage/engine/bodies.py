"""Requests in OpenAI-style JSON: what llama.cpp, vLLM and most other servers understand."""

from __future__ import annotations

import base64

from partage.json_value import JsonObject, JsonValue
from partage.work import ChatWork, Image, Message, Sampling

_SIGNATURES = (
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
)


def media_type(image: Image) -> str:
    """Look at the bytes: clients often send a wrong type, or none."""
    if image.data[:4] == b"RIFF" and image.data[8:12] == b"WEBP":
        return "image/webp"
    for signature, name in _SIGNATURES:
        if image.data.startswith(signature):
            return name
    return image.media_type or "application/octet-stream"


def message_json(message: Message) -> JsonObject:
    json: JsonObject = {"role": message.role, "content": message.content}
    if message.images:
        parts: list[JsonValue] = []
        if message.content:
            parts.append({"type": "text", "text": message.content})
        for image in message.images:
            encoded = base64.b64encode(image.data).decode()
            parts.append({"type": "image_url", "image_url": {"url": f"data:{media_type(image)};base64,{encoded}"}})
        json["content"] = parts
    if message.thinking:
        json["reasoning_content"] = message.thinking
    if message.tool_calls:
        json["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        json["tool_call_id"] = message.tool_call_id
    if message.tool_name:
        json["name"] = message.tool_name
    return json


def sampling_json(sampling: Sampling) -> JsonObject:
    """Every field but logprobs, under the names that OpenAI gave them, or llama.cpp where OpenAI has none."""
    json: JsonObject = {
        name: value
        for name in (
            "max_tokens",
            "temperature",
            "top_p",
            "top_k",
            "min_p",
            "typical_p",
            "seed",
            "repeat_penalty",
            "repeat_last_n",
            "presence_penalty",
            "frequency_penalty",
        )
        if (value := getattr(sampling, name)) is not None
    }
    if sampling.stop:
        json["stop"] = list(sampling.stop)
    if sampling.logit_bias:
        json["logit_bias"] = dict(sampling.logit_bias)
    return json


def chat_json(work: ChatWork) -> JsonObject:
    """Everything of a chat request but `format` and `think`, in which servers differ."""
    json: JsonObject = {
        "messages": [message_json(message) for message in work.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
        **sampling_json(work.sampling),
    }
    if work.sampling.logprobs is not None:
        json["logprobs"] = True
        json["top_logprobs"] = work.sampling.logprobs
    if work.tools:
        json["tools"] = list(work.tools)
        if work.tool_choice is not None:
            json["tool_choice"] = work.tool_choice
    return json
