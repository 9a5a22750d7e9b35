from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import msgspec
import pytest

from partage.api.fake_hub import FakeHub, Serve, fake_model
from partage.domain import Capability, Request
from partage.errors import QueueFull
from partage.work import (
    ChatWork,
    CompletionWork,
    Delta,
    Done,
    EmbedWork,
    Message,
    Output,
    TokenLogprob,
    ToolCall,
    Usage,
)

USER = {"role": "user", "content": "one two"}
PNG = b"\x89PNG\r\n\x1a\n"
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def scripted(*outputs: Output) -> Serve:
    async def serve(request: Request) -> AsyncGenerator[Output, None]:
        for output in outputs:
            yield output

    return serve


def lines_of(response: httpx.Response) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in response.content.splitlines()]


async def test_a_chat_streams_lines_of_json(http: httpx.AsyncClient):
    response = await http.post("/api/chat", json={"model": "chatty", "messages": [USER]})
    assert response.headers["content-type"] == "application/x-ndjson"
    *parts, last = lines_of(response)
    assert [part["message"] for part in parts] == [
        {"role": "assistant", "content": "one"},
        {"role": "assistant", "content": " two"},
    ]
    assert {part["done"] for part in parts} == {False}
    created_at = last.pop("created_at")
    assert created_at.endswith("Z")
    assert last == {
        "model": "chatty", "done": True, "done_reason": "stop", "message": {"role": "assistant", "content": ""},
        "total_duration": 2_000_000_000, "load_duration": 500_000_000, "prompt_eval_count": 7,
        "prompt_eval_duration": 125_000_000, "eval_count": 2, "eval_duration": 1_000_000_000,
    }  # fmt: skip


async def test_a_chat_that_is_not_streamed_is_one_object(http: httpx.AsyncClient):
    response = await http.post("/api/chat", json={"model": "chatty", "messages": [USER], "stream": False})
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    answer = response.json()
    assert answer["message"] == {"role": "assistant", "content": "one two"}
    assert (answer["done"], answer["done_reason"], answer["eval_count"]) == (True, "stop", 2)


async def test_generate_has_the_text_in_response(http: httpx.AsyncClient):
    streamed = await http.post("/api/generate", json={"model": "chatty", "prompt": "a b"})
    assert [part["response"] for part in lines_of(streamed)] == ["a", " b", ""]
    whole = await http.post("/api/generate", json={"model": "chatty", "prompt": "a b", "stream": False})
    assert whole.json()["response"] == "a b"
    assert "message" not in whole.json()


async def test_everything_asked_for_reaches_the_hub(http: httpx.AsyncClient, hub: FakeHub):
    body = {
        "model": "chatty",
        "messages": [
            {"role": "system", "content": "be brief"},
            USER,
            {"role": "assistant", "thinking": "hm", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]},
            {"role": "tool", "content": "42", "tool_name": "f", "tool_call_id": "call_0"},
        ],
        "tools": [TOOL],
        "format": {"type": "object"},
        "think": "low",
        "options": {"temperature": 0, "num_ctx": 4096, "stop": "END"},
        "keep_alive": "10m",
        "logprobs": True,
        "top_logprobs": 2,
    }
    await http.post("/api/chat", json=body, headers={"x-partage-timeout": "1m30s"})
    (request,) = hub.requests
    assert (request.model, request.keep_alive_s, request.context_tokens) == ("chatty:latest", 600, 4096)
    assert request.deadline_s == 90
    assert isinstance(request.work, ChatWork)
    assert request.work.messages == (
        Message(role="system", content="be brief"),
        Message(role="user", content="one two"),
        Message(role="assistant", thinking="hm", tool_calls=(ToolCall(id="call_0", name="f", arguments='{"a":1}'),)),
        Message(role="tool", content="42", tool_name="f", tool_call_id="call_0"),
    )
    assert request.work.tools == (TOOL,)
    assert (request.work.format, request.work.think) == ({"type": "object"}, "low")
    assert (request.work.sampling.temperature, request.work.sampling.stop) == (0.0, ("END",))
    assert request.work.sampling.logprobs == 2


async def test_pictures_arrive_as_bytes(http: httpx.AsyncClient, hub: FakeHub):
    message = {**USER, "images": [base64.b64encode(PNG).decode()]}
    await http.post("/api/chat", json={"model": "seer", "messages": [message]})
    work = hub.requests[0].work
    assert isinstance(work, ChatWork)
    assert [(image.data, image.media_type) for image in work.messages[0].images] == [(PNG, "image/png")]


async def test_the_models_own_system_prompt_leads_unless_the_client_brings_one(http: httpx.AsyncClient, hub: FakeHub):
    hub.add(fake_model("pirate:latest", Capability.COMPLETION, Capability.CHAT, system="arr"))
    await http.post("/api/chat", json={"model": "pirate", "messages": [USER]})
    await http.post("/api/chat", json={"model": "pirate", "messages": [{"role": "system", "content": "no"}, USER]})
    await http.post("/api/generate", json={"model": "pirate", "prompt": "x"})
    await http.post("/api/generate", json={"model": "pirate", "prompt": "x", "system": "yes"})
    leads = [request.work.messages[0].content for request in hub.requests if isinstance(request.work, ChatWork)]
    assert leads == ["arr", "no", "arr", "yes"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"model": "chatty", "prompt": "x"}, ChatWork),
        ({"model": "chatty", "prompt": "x", "raw": True}, CompletionWork),
        ({"model": "coder", "prompt": "x"}, CompletionWork),
        ({"model": "coder", "prompt": "x", "suffix": "y"}, CompletionWork),
    ],
)
async def test_a_prompt_is_a_chat_unless_it_is_raw_or_the_model_cannot(
    body: dict[str, Any], kind: type, http: httpx.AsyncClient, hub: FakeHub
):
    assert (await http.post("/api/generate", json=body)).status_code == 200
    assert type(hub.requests[0].work) is kind


@pytest.mark.parametrize(
    ("path", "body"),
    [("/api/chat", {"messages": []}), ("/api/chat", {}), ("/api/generate", {"prompt": ""}), ("/api/generate", {})],
)
async def test_nothing_to_say_loads_or_unloads(path: str, body: dict[str, Any], http: httpx.AsyncClient, hub: FakeHub):
    loaded = await http.post(path, json={"model": "chatty", "keep_alive": "1h", **body})
    assert (loaded.json()["done"], loaded.json()["done_reason"]) == (True, "load")
    assert [(request.work, request.keep_alive_s) for request in hub.requests] == [(None, 3600)]
    unloaded = await http.post(path, json={"model": "chatty", "keep_alive": 0, **body})
    assert unloaded.json()["done_reason"] == "unload"
    assert hub.unloaded == ["chatty:latest"]


async def test_tool_calls_come_whole_before_the_last_line(http: httpx.AsyncClient, hub: FakeHub):
    hub.serve = scripted(
        Delta(tool_calls=((0, ToolCall(id="c1", name="weather", arguments='{"ci')),)),
        Delta(tool_calls=((0, ToolCall(id="", name="", arguments='ty":"Graz"}')),)),
        Delta(tool_calls=((1, ToolCall(id="c2", name="time", arguments="")),)),
        Done(finish_reason="tool_calls", usage=Usage()),
    )
    body = {"model": "chatty", "messages": [USER], "tools": [TOOL]}
    calls, last = lines_of(await http.post("/api/chat", json=body))
    expected = [
        {"id": "c1", "function": {"index": 0, "name": "weather", "arguments": {"city": "Graz"}}},
        {"id": "c2", "function": {"index": 1, "name": "time", "arguments": {}}},
    ]
    assert calls["message"]["tool_calls"] == expected
    assert (calls["done"], last["done"], last["done_reason"]) == (False, True, "stop")
    whole = await http.post("/api/chat", json={**body, "stream": False})
    assert whole.json()["message"]["tool_calls"] == expected


async def test_a_tool_call_cut_short_is_given_back_as_text(http: httpx.AsyncClient, hub: FakeHub):
    hub.serve = scripted(
        Delta(tool_calls=((0, ToolCall(id="c1", name="weather", arguments='{"ci')),)),
        Done(finish_reason="length", usage=Usage()),
    )
    answer = await http.post("/api/chat", json={"model": "chatty", "messages": [USER], "stream": False})
    assert answer.json()["message"] == {"role": "assistant", "content": 'weather({"ci'}


async def test_thinking_and_log_probabilities_have_their_own_fields(http: httpx.AsyncClient, hub: FakeHub):
    token = TokenLogprob(token="é", logprob=-0.5, top=(("e", -1.0),))
    hub.serve = scripted(
        Delta(thinking="hm"), Delta(text="é", logprobs=(token,)), Done(finish_reason="stop", usage=Usage())
    )
    thought, said, _ = lines_of(await http.post("/api/chat", json={"model": "chatty", "messages": [USER]}))
    assert thought["message"] == {"role": "assistant", "content": "", "thinking": "hm"}
    assert said["logprobs"] == [
        {
            "token": "é",
            "logprob": -0.5,
            "bytes": [195, 169],
            "top_logprobs": [{"token": "e", "logprob": -1.0, "bytes": [101]}],
        }
    ]
    generated = await http.post("/api/generate", json={"model": "chatty", "prompt": "x", "stream": False})
    assert (generated.json()["thinking"], generated.json()["response"]) == ("hm", "é")


async def test_texts_are_embedded_in_order(http: httpx.AsyncClient, hub: FakeHub):
    response = await http.post("/api/embed", json={"model": "embedder", "input": ["a", "bcd"], "dimensions": 3})
    assert response.json() == {
        "model": "embedder",
        "embeddings": [[1.0, 0.5, -0.25], [3.0, 0.5, -0.25]],
        "total_duration": 2_000_000_000,
        "load_duration": 500_000_000,
        "prompt_eval_count": 2,
    }
    assert hub.requests[0].work == EmbedWork(inputs=("a", "bcd"), dimensions=3)


@pytest.mark.parametrize("empty", ["", [], None])
async def test_nothing_to_embed_only_loads(empty: str | list[str] | None, http: httpx.AsyncClient, hub: FakeHub):
    response = await http.post("/api/embed", json={"model": "embedder", "input": empty})
    assert response.json()["embeddings"] == []
    assert hub.requests[0].work is None


async def test_the_older_embedding_is_not_normalised(http: httpx.AsyncClient, hub: FakeHub):
    response = await http.post("/api/embeddings", json={"model": "embedder", "prompt": "abc"})
    assert response.json() == {"embedding": [3.0, 0.5, -0.25]}
    assert hub.requests[0].work == EmbedWork(inputs=("abc",), normalise=False)


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/api/chat", {"model": ""}, "model is required"),
        ("/api/chat", {"model": "nope"}, "model 'nope' not found, try pulling it first: partage pull nope"),
        ("/api/chat", {"messages": [{"role": ""}]}, "messages[0].role is required"),
        ("/api/chat", {"messages": [USER], "format": "xml"}, 'format: "xml" is unknown; send "json" or a JSON Schema'),
        ("/api/chat", {"messages": [USER], "keep_alive": "soon"}, 'keep_alive: "soon" is no duration'),
        ("/api/chat", {"messages": [USER], "options": {"seed": "x"}}, "options.seed must be an integer, got 'x'"),
        ("/api/chat", {"messages": [USER], "options": []}, "options: expected object or null, got array"),
        ("/api/chat", {"messages": [USER], "top_logprobs": 99}, "top_logprobs must be from 0 to 20"),
        ("/api/chat", {"messages": [{**USER, "images": ["aGk="]}]}, "messages[0].images[0]: this is no PNG"),
        ("/api/chat", {"model": "seer", "messages": [USER], "tools": [TOOL]}, '"seer:latest" does not support tools'),
        ("/api/chat", {"model": "seer", "messages": [USER], "think": True}, '"seer:latest" does not support thinking'),
        ("/api/generate", {"prompt": "x", "suffix": "y"}, '"chatty:latest" does not support insert'),
        (
            "/api/generate",
            {"prompt": "x", "template": "{{ }}"},
            "template: only .System, .Prompt, .Response, if and else",
        ),
        ("/api/generate", {"prompt": "x", "context": [1]}, "context: these numbers are not from an"),
        (
            "/api/generate",
            {"prompt": "x", "context": [1], "raw": True},
            "raw mode does not support template, system, or context",
        ),
    ],
)
async def test_bad_input_is_named(path: str, body: dict[str, Any], message: str, http: httpx.AsyncClient):
    response = await http.post(path, json={"model": "chatty", **body})
    assert response.json()["error"].startswith(message)
    assert response.status_code == (404 if "not found" in message else 400)


@pytest.mark.parametrize("stream", [True, False])
async def test_context_carries_a_conversation_from_one_generate_to_the_next(
    stream: bool, http: httpx.AsyncClient, hub: FakeHub
):
    async def generate(**fields: object) -> dict[str, Any]:
        response = await http.post("/api/generate", json={"model": "chatty", "stream": stream, **fields})
        return json.loads(response.text.splitlines()[-1])

    first = await generate(prompt="one two", system="be kind")
    second = await generate(prompt="three", context=first["context"])
    work = hub.requests[-1].work
    assert isinstance(work, ChatWork)
    said = [(message.role, message.content) for message in work.messages]
    assert said == [("system", "be kind"), ("user", "one two"), ("assistant", "one two"), ("user", "three")]
    await generate(prompt="four", context=second["context"], system="be brief")
    work = hub.requests[-1].work
    assert isinstance(work, ChatWork)
    assert [message.content for message in work.messages] == [
        "be brief",
        "one two",
        "one two",
        "three",
        "three",
        "four",
    ]
    assert "context" not in await generate(prompt="five", raw=True)


async def test_only_ollamas_dialect_leaves_out_old_messages_and_only_when_it_may(http: httpx.AsyncClient, hub: FakeHub):
    for path, fields, truncates in (
        ("/api/chat", {}, True),
        ("/api/chat", {"truncate": False}, False),
        ("/v1/chat/completions", {}, False),
    ):
        await http.post(path, json={"model": "chatty", "messages": [USER], **fields})
        work = hub.requests[-1].work
        assert isinstance(work, ChatWork)
        assert work.truncate is truncates


async def test_a_refusal_keeps_its_status_and_says_when_to_come_back(http: httpx.AsyncClient, hub: FakeHub):
    hub.refusal = QueueFull(retry_after_s=7)
    response = await http.post("/api/chat", json={"model": "chatty", "messages": [USER]})
    assert (response.status_code, response.headers["retry-after"]) == (503, "7")
    assert response.json() == {"error": "The server is busy: too many requests are waiting already."}


async def test_a_timeout_that_is_none_is_named(http: httpx.AsyncClient):
    body = {"model": "chatty", "messages": [USER]}
    response = await http.post("/api/chat", json=body, headers={"x-partage-timeout": "-3s"})
    assert response.json()["error"] == 'X-Partage-Timeout: "-3s" is no duration; write 30 or "1m30s"'


async def test_a_template_of_the_request_lays_its_prompt_out(http: httpx.AsyncClient, hub: FakeHub):
    template = "{{ if .System }}<s>{{ .System }}{{ end }}<u>{{ .Prompt }}<a>{{ .Response }}<end>"
    body = {"model": "chatty", "prompt": "one two", "system": "be kind", "template": template, "stream": False}
    assert (await http.post("/api/generate", json=body)).status_code == 200
    work = hub.requests[-1].work
    assert isinstance(work, CompletionWork)
    assert (work.prompt, work.raw, work.truncate) == ("<s>be kind<u>one two<a>", True, True)


@pytest.mark.parametrize("field", [{"template": "{{ .Prompt }}"}, {"system": "x"}, {"context": [1]}])
async def test_raw_goes_with_nothing_that_would_lay_it_out(field: dict[str, Any], http: httpx.AsyncClient):
    response = await http.post("/api/generate", json={"model": "chatty", "prompt": "x", "raw": True, **field})
    assert (response.status_code, response.json()["error"][:8]) == (400, "raw mode")


@pytest.mark.parametrize("truncate", [True, False])
async def test_a_raw_prompt_too_long_is_cut_unless_told_not_to(truncate: bool, http: httpx.AsyncClient, hub: FakeHub):
    await http.post("/api/generate", json={"model": "chatty", "prompt": "x", "raw": True, "truncate": truncate})
    work = hub.requests[-1].work
    assert isinstance(work, CompletionWork)
    assert work.truncate is truncate
