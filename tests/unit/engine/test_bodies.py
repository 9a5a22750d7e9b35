from __future__ import annotations

from typing import Any, cast

import pytest

from partage.engine.bodies import chat_json, media_type, message_json, sampling_json
from partage.json_value import JsonObject
from partage.work import ChatWork, Image, Message, Sampling, ToolCall

TOOL: JsonObject = {"type": "function", "function": {"name": "weather"}}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"GIF89a", "image/gif"),
        (b"unheard of", "image/jpeg"),
    ],
)
def test_media_type_comes_from_the_bytes_before_the_claim(data: bytes, expected: str):
    assert media_type(Image(data=data, media_type="image/jpeg")) == expected


def test_images_follow_the_text_as_data_urls():
    image = Image(data=b"\x89PNG", media_type="")
    json = cast("Any", message_json(Message(role="user", content="What is it?", images=(image,))))
    assert json["content"][0] == {"type": "text", "text": "What is it?"}
    assert json["content"][1]["image_url"]["url"] == "data:image/png;base64,iVBORw=="


def test_tool_calls_and_their_results_keep_their_ids():
    call = ToolCall(id="c1", name="weather", arguments='{"city":"Rome"}')
    asked = cast("Any", message_json(Message(role="assistant", tool_calls=(call,), thinking="hm")))
    assert asked["tool_calls"][0]["id"] == "c1"
    assert asked["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city":"Rome"}'}
    assert asked["reasoning_content"] == "hm"
    told = message_json(Message(role="tool", content="sunny", tool_call_id="c1", tool_name="weather"))
    assert (told["tool_call_id"], told["name"]) == ("c1", "weather")


def test_only_what_was_asked_for_is_sent():
    assert sampling_json(Sampling()) == {}
    assert sampling_json(Sampling(temperature=0.0, seed=0, stop=("x",), logit_bias={"5": -1.0})) == {
        "temperature": 0.0,
        "seed": 0,
        "stop": ["x"],
        "logit_bias": {"5": -1.0},
    }


def test_chat_is_always_streamed_with_usage():
    json = chat_json(ChatWork(messages=(Message(role="user", content="hi"),), sampling=Sampling(logprobs=3)))
    assert json["stream"] is True
    assert json["stream_options"] == {"include_usage": True}
    assert (json["logprobs"], json["top_logprobs"]) == (True, 3)


def test_tool_choice_goes_only_with_tools():
    message = Message(role="user", content="hi")
    assert "tool_choice" not in chat_json(ChatWork(messages=(message,), tool_choice="auto"))
    assert chat_json(ChatWork(messages=(message,), tools=(TOOL,), tool_choice="required"))["tool_choice"] == "required"
