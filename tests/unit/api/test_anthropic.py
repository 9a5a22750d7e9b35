from __future__ import annotations

import base64
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import msgspec
import pytest

from partage.api.fake_hub import FakeHub, Serve, fake_model
from partage.domain import Capability, Request
from partage.work import ChatWork, CountWork, Delta, Done, Image, Message, Output, PromptProgress, ToolCall, Usage

USER = {"role": "user", "content": "one two"}
BODY: dict[str, Any] = {"model": "chatty", "max_tokens": 50, "messages": [USER]}
PNG = b"\x89PNG\r\n\x1a\n"
CALL = (
    Delta(thinking="hm"),
    Delta(text="let me see"),
    Delta(tool_calls=((0, ToolCall(id="c1", name="weather", arguments="")),)),
    Delta(tool_calls=((0, ToolCall(id="", name="", arguments='{"city":"Graz"}')),)),
    Delta(tool_calls=((1, ToolCall(id="c2", name="time", arguments="{}")),)),
    Done(finish_reason="tool_calls", usage=Usage(prompt_tokens=5, cached_tokens=2, output_tokens=9)),
)


def scripted(*outputs: Output) -> Serve:
    async def serve(request: Request) -> AsyncGenerator[Output, None]:
        for output in outputs:
            yield output

    return serve


def events_of(response: httpx.Response) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    for event in response.text.removesuffix("\n\n").split("\n\n"):
        name, data = event.split("\n")
        events.append(msgspec.json.decode(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    return events


async def test_a_message_is_one_object(http: httpx.AsyncClient):
    answer = (await http.post("/v1/messages", json=BODY)).json()
    assert answer.pop("id").startswith("msg_")
    assert answer == {
        "type": "message", "role": "assistant", "model": "chatty", "stop_reason": "end_turn", "stop_sequence": None,
        "content": [{"type": "text", "text": "one two"}],
        "usage": {
            "input_tokens": 4, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 0, "output_tokens": 2,
        },
    }  # fmt: skip


async def test_a_message_streams_named_events(http: httpx.AsyncClient):
    events = events_of(await http.post("/v1/messages", json={**BODY, "stream": True}))
    assert [event["type"] for event in events] == [
        "message_start", "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop",
        "message_delta", "message_stop",
    ]  # fmt: skip
    assert (events[0]["message"]["content"], events[0]["message"]["stop_reason"]) == ([], None)
    assert events[1] == {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    assert [event["delta"] for event in events[2:4]] == [
        {"type": "text_delta", "text": "one"},
        {"type": "text_delta", "text": " two"},
    ]
    assert events[5]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert events[5]["usage"]["output_tokens"] == 2


async def test_each_kind_of_answer_is_a_block_of_its_own(http: httpx.AsyncClient, hub: FakeHub):
    hub.serve = scripted(*CALL)
    events = events_of(await http.post("/v1/messages", json={**BODY, "stream": True}))
    starts = [event["content_block"] for event in events if event["type"] == "content_block_start"]
    assert starts == [
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "text", "text": ""},
        {"type": "tool_use", "id": "c1", "name": "weather", "input": {}},
        {"type": "tool_use", "id": "c2", "name": "time", "input": {}},
    ]
    stops = [event["index"] for event in events if event["type"] == "content_block_stop"]
    assert stops == [0, 1, 2, 3]
    signed = [event for event in events if event.get("delta", {}).get("type") == "signature_delta"]
    assert [event["index"] for event in signed] == [0]
    pieces = [event["delta"] for event in events if event["type"] == "content_block_delta" and event["index"] == 2]
    assert "".join(piece["partial_json"] for piece in pieces) == '{"city":"Graz"}'
    assert events[-2]["delta"]["stop_reason"] == "tool_use"
    whole = (await http.post("/v1/messages", json=BODY)).json()
    assert whole["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": ""},
        {"type": "text", "text": "let me see"},
        {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Graz"}},
        {"type": "tool_use", "id": "c2", "name": "time", "input": {}},
    ]


async def test_everything_asked_for_reaches_the_hub(http: httpx.AsyncClient, hub: FakeHub):
    picture = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PNG).decode()}
    hub.add(fake_model("all:latest", *Capability))
    body = {
        "model": "all",
        "max_tokens": 50,
        "system": [{"type": "text", "text": "be brief"}],
        "messages": [
            {"role": "user", "content": [{"type": "image", "source": picture}, {"type": "text", "text": "what?"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "x"},
                    {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "42"}]},
                    {"type": "text", "text": "and?"},
                ],
            },
        ],
        "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "tool", "name": "f"},
        "thinking": {"type": "enabled", "budget_tokens": 1000},
        "stop_sequences": ["END"],
        "temperature": 0.5,
        "keep_alive": -1,
        "options": {"num_ctx": 2048},
    }
    response = await http.post("/v1/messages", json=body, headers={"x-api-key": "any"})
    assert response.status_code == 200, response.text
    (request,) = hub.requests
    assert (request.keep_alive_s, request.context_tokens) == (-1, 2048)
    work = request.work
    assert isinstance(work, ChatWork)
    assert work.messages == (
        Message(role="system", content="be brief"),
        Message(role="user", content="what?", images=(Image(data=PNG, media_type="image/png"),)),
        Message(role="assistant", thinking="hm", tool_calls=(ToolCall(id="c1", name="f", arguments='{"a":1}'),)),
        Message(role="tool", content="42", tool_call_id="c1", tool_name="f"),
        Message(role="user", content="and?"),
    )
    function = {"name": "f", "description": "d", "parameters": {"type": "object"}}
    assert work.tools == ({"type": "function", "function": function},)
    assert (work.tool_choice, work.think) == ({"type": "function", "function": {"name": "f"}}, True)
    drawn = work.sampling
    assert (drawn.max_tokens, drawn.stop, drawn.temperature) == (50, ("END",), 0.5)


async def test_the_stop_sequence_that_ended_it_is_named(http: httpx.AsyncClient, hub: FakeHub):
    hub.serve = scripted(Delta(text="one"), Done(finish_reason="stop", usage=Usage(), stop="END"))
    named = {"stop_reason": "stop_sequence", "stop_sequence": "END"}
    whole = (await http.post("/v1/messages", json={**BODY, "stop_sequences": ["END"]})).json()
    assert {name: whole[name] for name in named} == named
    events = events_of(await http.post("/v1/messages", json={**BODY, "stop_sequences": ["END"], "stream": True}))
    assert events[-2]["delta"] == named


async def test_a_message_starts_with_the_tokens_of_its_prompt(http: httpx.AsyncClient, hub: FakeHub):
    hub.serve = scripted(PromptProgress(3, 7), Delta(text="one"), Done(finish_reason="stop", usage=Usage()))
    events = events_of(await http.post("/v1/messages", json={**BODY, "stream": True}))
    assert events[0]["message"]["usage"]["input_tokens"] == 7


async def chat_of(http: httpx.AsyncClient, hub: FakeHub, **asked: object) -> ChatWork:
    response = await http.post("/v1/messages", json={**BODY, **asked})
    assert response.status_code == 200, response.text
    work = hub.requests[-1].work
    assert isinstance(work, ChatWork)
    return work


async def test_what_a_tool_gave_may_be_pictures_texts_or_nothing(http: httpx.AsyncClient, hub: FakeHub):
    source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PNG).decode()}
    picture = [{"type": "text", "text": "see"}, {"type": "image", "source": source}]
    for content, expected in (
        (
            picture,
            Message(role="tool", content="see", images=(Image(data=PNG, media_type="image/png"),), tool_call_id="c"),
        ),
        (None, Message(role="tool", tool_call_id="c")),
    ):
        result = {"type": "tool_result", "tool_use_id": "c", "content": content}
        work = await chat_of(http, hub, model="seer", messages=[{"role": "user", "content": [result]}])
        assert work.messages == (expected,)


async def test_a_document_of_text_is_text(http: httpx.AsyncClient, hub: FakeHub):
    blocks = [
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "not base64!"}},
        {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "b"}]}},
        {"type": "text", "text": "c"},
    ]
    work = await chat_of(http, hub, messages=[{"role": "user", "content": blocks}])
    assert work.messages[0].content == "not base64!\nb\nc"


async def test_a_model_that_cannot_think_is_not_asked_to(http: httpx.AsyncClient, hub: FakeHub):
    asked = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "output_config": {"effort": "high"}}
    assert (await chat_of(http, hub, **asked)).think is True
    assert (await chat_of(http, hub, output_config={"effort": "high"})).think == "high"
    assert (await chat_of(http, hub, thinking={"type": "adaptive"})).think is None
    hub.add(fake_model("plain:latest", Capability.COMPLETION, Capability.CHAT))
    assert (await chat_of(http, hub, model="plain", **asked)).think is None


async def test_an_answer_in_json_is_asked_for_as_output_config(http: httpx.AsyncClient, hub: FakeHub):
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    work = await chat_of(http, hub, output_config={"format": {"type": "json_schema", "schema": schema}})
    assert work.format == schema


async def test_the_system_prompt_has_no_billing_block_and_may_stand_among_the_messages(
    http: httpx.AsyncClient, hub: FakeHub
):
    billing = {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1; cch=ab12;"}
    system = [billing, {"type": "text", "text": "be kind", "cache_control": {"type": "ephemeral"}}]
    inline = [{"role": "system", "content": text} for text in (billing["text"], "be brief")]
    work = await chat_of(http, hub, system=system, messages=[*inline, USER])
    assert [one.content for one in work.messages] == ["be kind\n\nbe brief", "one two"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_tokens": "x"}, "max_tokens: expected integer or null, got string"),
        ({"max_tokens": None}, "max_tokens is required"),
        ({"messages": []}, "messages: at least one is needed"),
        ({"max_tokens": 0}, "max_tokens is required, and at least 1"),
        ({"messages": [{"role": "tool", "content": "x"}]}, 'messages[0].role: "tool" is none of user, assistant, system'),
        ({"output_config": {"format": {"type": "xml"}}}, 'output_config.format: expected {"type": "json_schema"'),
        ({"messages": [{"role": "user", "content": [{"type": "document"}]}]}, 'messages[0].content[0]: "document" blocks'),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url"}}]}]},
         "messages[0].content[0]: send pictures as base64"),
        ({"tools": [{"type": "web_search_1", "name": "web_search"}]}, 'tools: "web_search" runs on Anthropic\'s servers'),
        ({"tool_choice": {"type": "maybe"}}, 'tool_choice.type: "maybe" is none of auto, any, tool, none'),
    ],
)  # fmt: skip
async def test_bad_input_is_named(change: dict[str, Any], message: str, http: httpx.AsyncClient):
    response = await http.post("/v1/messages", json={**BODY, **change})
    assert response.status_code == 400
    assert response.json()["type"] == "error"
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert response.json()["error"]["message"].startswith(message)


async def test_tokens_of_a_conversation_are_counted_and_nothing_is_generated(http: httpx.AsyncClient, hub: FakeHub):
    tools = [{"name": "weather", "input_schema": {"type": "object"}}]
    asked = {"model": "chatty", "system": "be brief", "messages": [USER], "tools": tools}
    answer = await http.post("/v1/messages/count_tokens", json=asked)
    assert answer.json() == {"input_tokens": 4}
    work = hub.requests[0].work
    assert isinstance(work, CountWork)
    assert (work.chat.messages[0].content, len(work.chat.tools)) == ("be brief", 1)
