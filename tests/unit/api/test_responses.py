from __future__ import annotations

import base64
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import msgspec
import pytest

from partage.api.fake_hub import FakeHub, Serve
from partage.domain import Request
from partage.errors import EngineCrashed
from partage.work import ChatWork, Delta, Done, Image, Message, Output, TokenLogprob, ToolCall, Usage

ASKED: dict[str, Any] = {"model": "chatty", "input": "one two"}
PNG = b"\x89PNG\r\n\x1a\n"
THINKS_SPEAKS_CALLS = (
    Delta(thinking="hm"),
    Delta(text="let me see"),
    Delta(tool_calls=((0, ToolCall(id="c1", name="weather", arguments="")),)),
    Delta(tool_calls=((0, ToolCall(id="", name="", arguments='{"city":"Graz"}')),)),
    Done(finish_reason="tool_calls", usage=Usage(prompt_tokens=5, cached_tokens=2, output_tokens=9)),
)


def scripted(*outputs: Output | Exception) -> Serve:
    async def serve(request: Request) -> AsyncGenerator[Output, None]:
        for output in outputs:
            if isinstance(output, Exception):
                raise output
            yield output

    return serve


def events_of(response: httpx.Response) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    for event in response.text.removesuffix("\n\n").split("\n\n"):
        name, data = event.split("\n")
        events.append(msgspec.json.decode(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    return events


def work_of(hub: FakeHub) -> ChatWork:
    work = hub.requests[-1].work
    assert isinstance(work, ChatWork)
    return work


async def test_a_response_is_one_object(http: httpx.AsyncClient):
    answer = (await http.post("/v1/responses", json={**ASKED, "instructions": "be kind"})).json()
    assert answer["id"].startswith("resp_")
    assert (answer["object"], answer["status"], answer["model"]) == ("response", "completed", "chatty")
    (item,) = answer["output"]
    assert (item["type"], item["role"], item["status"]) == ("message", "assistant", "completed")
    assert item["content"] == [{"type": "output_text", "text": "one two", "annotations": [], "logprobs": []}]
    assert answer["usage"] == {
        "input_tokens": 7, "input_tokens_details": {"cached_tokens": 3}, "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 9,
    }  # fmt: skip
    assert (answer["instructions"], answer["store"], answer["previous_response_id"]) == ("be kind", False, None)


async def test_a_response_streams_numbered_events_with_names_of_their_own(http: httpx.AsyncClient, hub: FakeHub):
    hub.serve = scripted(*THINKS_SPEAKS_CALLS)
    tool = {"type": "function", "name": "weather"}
    events = events_of(await http.post("/v1/responses", json={**ASKED, "stream": True, "tools": [tool]}))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"].removeprefix("response.") for event in events] == [
        "created", "in_progress",
        "output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta",
        "reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done",
        "output_item.added", "content_part.added", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done",
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done",
        "completed",
    ]  # fmt: skip
    reasoning, message, call = events[-1]["response"]["output"]
    assert reasoning["summary"] == [{"type": "summary_text", "text": "hm"}]
    assert message["content"][0]["text"] == "let me see"
    assert (call["call_id"], call["name"], call["arguments"]) == ("c1", "weather", '{"city":"Graz"}')
    assert [event["item"]["id"] for event in events if event["type"] == "response.output_item.done"] == [
        reasoning["id"], message["id"], call["id"],
    ]  # fmt: skip
    whole = (await http.post("/v1/responses", json={**ASKED, "tools": [tool]})).json()
    assert [item["type"] for item in whole["output"]] == ["reasoning", "message", "function_call"]


async def test_an_answer_that_was_cut_is_incomplete(http: httpx.AsyncClient, hub: FakeHub):
    hub.serve = scripted(Delta(text="we"), Done(finish_reason="length", usage=Usage()))
    events = events_of(await http.post("/v1/responses", json={**ASKED, "stream": True, "max_output_tokens": 1}))
    assert events[-1]["type"] == "response.incomplete"
    assert events[-1]["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert work_of(hub).sampling.max_tokens == 1


async def test_an_error_in_the_middle_is_the_last_event(http: httpx.AsyncClient, hub: FakeHub):
    hub.serve = scripted(Delta(text="we"), EngineCrashed("it ended"))
    events = events_of(await http.post("/v1/responses", json={**ASKED, "stream": True}))
    assert (events[-1]["type"], events[-1]["message"]) == ("error", "it ended")


async def test_the_conversation_comes_as_items(http: httpx.AsyncClient, hub: FakeHub):
    picture = "data:image/png;base64," + base64.b64encode(PNG).decode()
    asked = {
        "model": "seer",
        "input": [
            {"role": "developer", "content": "be brief"},
            {"role": "user", "content": [{"type": "input_text", "text": "what?"}, {"type": "input_image", "image_url": picture}]},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
            {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
            {"type": "function_call", "call_id": "c2", "name": "smell", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "a cat"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a cat"}]},
            {"role": "user", "content": "sure?"},
        ],
    }  # fmt: skip
    assert (await http.post("/v1/responses", json=asked)).status_code == 200
    calls = (ToolCall(id="c1", name="look", arguments="{}"), ToolCall(id="c2", name="smell", arguments="{}"))
    assert work_of(hub).messages == (
        Message(role="system", content="be brief"),
        Message(role="user", content="what?", images=(Image(data=PNG, media_type="image/png"),)),
        Message(role="assistant", thinking="hm", tool_calls=calls),
        Message(role="tool", content="a cat", tool_call_id="c1", tool_name="look"),
        Message(role="assistant", content="a cat"),
        Message(role="user", content="sure?"),
    )


async def test_every_field_reaches_the_work(http: httpx.AsyncClient, hub: FakeHub):
    schema = {"type": "object", "properties": {"a": {}}}
    tool = {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}
    await http.post(
        "/v1/responses",
        json={
            **ASKED, "instructions": "be kind", "temperature": 0.5, "top_p": 0.25, "tools": [tool],
            "tool_choice": {"type": "function", "name": "f"}, "reasoning": {"effort": "high"},
            "text": {"format": {"type": "json_schema", "name": "x", "schema": schema}},
            "include": ["message.output_text.logprobs"], "top_logprobs": 2, "keep_alive": "1m",
            "options": {"num_ctx": 512},
        },
    )  # fmt: skip
    work, request = work_of(hub), hub.requests[-1]
    assert work.messages[0] == Message(role="system", content="be kind")
    assert (work.sampling.temperature, work.sampling.top_p, work.sampling.logprobs) == (0.5, 0.25, 2)
    assert (work.format, work.think) == (schema, "high")
    function = {"name": "f", "parameters": {"type": "object"}, "description": "d"}
    assert work.tools == ({"type": "function", "function": function},)
    assert work.tool_choice == {"type": "function", "function": {"name": "f"}}
    assert (request.keep_alive_s, request.context_tokens) == (60.0, 512)


async def test_log_probabilities_come_with_the_text(http: httpx.AsyncClient, hub: FakeHub):
    token = TokenLogprob(token="x", logprob=-0.5, top=(("y", -1.0),))
    hub.serve = scripted(Delta(text="x", logprobs=(token,)), Done(finish_reason="stop", usage=Usage()))
    answer = (await http.post("/v1/responses", json={**ASKED, "include": ["message.output_text.logprobs"]})).json()
    (found,) = answer["output"][0]["content"][0]["logprobs"]
    assert (found["token"], found["top_logprobs"][0]["token"]) == ("x", "y")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id: nothing is kept here"),
        ({"conversation": "c"}, "conversation: nothing is kept here"),
        ({"prompt": {"id": "p"}}, "prompt: nothing is kept here"),
        ({"background": True}, "background: answers are not kept here"),
        ({"input": []}, "input: at least one item"),
        ({"input": [{"role": "robot", "content": "x"}]}, 'input[0].role: "robot"'),
        ({"input": [{"type": "item_reference", "id": "x"}]}, 'input[0]: "item_reference"'),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, 'input[0].content[0]: "input_file"'),
        ({"tools": [{"type": "web_search"}]}, 'tools: "web_search"'),
        ({"tool_choice": "perhaps"}, "tool_choice: expected"),
        ({"text": {"format": {"type": "xml"}}}, 'text.format.type: "xml"'),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format.schema is required"),
        ({"top_logprobs": 30}, "top_logprobs"),
        ({"input": 5}, "input: expected"),
    ],
)
async def test_bad_input_is_named(change: dict[str, Any], message: str, http: httpx.AsyncClient):
    response = await http.post("/v1/responses", json={**ASKED, **change})
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith(message)
    assert response.json()["error"]["type"] == "invalid_request_error"


async def test_tools_of_openais_servers_are_left_out_beside_functions(http: httpx.AsyncClient, hub: FakeHub):
    tools = [{"type": "web_search"}, {"type": "function", "name": "f"}, {"type": "custom", "name": "apply_patch"}]
    assert (await http.post("/v1/responses", json={**ASKED, "tools": tools})).status_code == 200
    function = {"name": "f", "parameters": {"type": "object"}}
    assert work_of(hub).tools == ({"type": "function", "function": function},)


async def test_a_response_has_every_field_that_clients_check_for(http: httpx.AsyncClient):
    answer = (await http.post("/v1/responses", json={**ASKED, "top_logprobs": 2})).json()
    assert answer["completed_at"] >= answer["created_at"] > 0
    known = {"background": False, "service_tier": "default", "top_logprobs": 2, "max_tool_calls": None}
    known |= {"presence_penalty": 0.0, "frequency_penalty": 0.0, "prompt_cache_key": None, "safety_identifier": None}
    assert {name: answer[name] for name in known} == known


async def test_words_and_calls_are_put_together_as_in_ollamas_own_test(http: httpx.AsyncClient, hub: FakeHub):
    def call(number: int) -> dict[str, str]:
        return {"type": "function_call", "call_id": f"call_{number}", "name": f"f{number}", "arguments": "{}"}

    def said(text: str) -> dict[str, Any]:
        return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}

    items = [{"role": "user", "content": "do"}, said("First."), call(1), call(2), said("Second."), call(3)]
    assert (await http.post("/v1/responses", json={**ASKED, "input": items})).status_code == 200
    turns = [(one.content, [call.name for call in one.tool_calls]) for one in work_of(hub).messages]
    assert turns == [("do", []), ("First.", ["f1", "f2"]), ("Second.", ["f3"])]
