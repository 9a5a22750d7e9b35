from __future__ import annotations

import base64
import struct
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import msgspec
import pytest

from partage.api.fake_hub import FakeHub, Serve, fake_model
from partage.domain import Request
from partage.errors import ContextTooLong, QuotaExceeded
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
PNG_URL = "data:image/png;base64," + base64.b64encode(PNG).decode()
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def scripted(*outputs: Output) -> Serve:
    async def serve(request: Request) -> AsyncGenerator[Output, None]:
        for output in outputs:
            yield output

    return serve


def events_of(response: httpx.Response) -> list[dict[str, Any]]:
    *events, last, end = response.text.split("\n\n")
    assert (last, end) == ("data: [DONE]", "")
    return [msgspec.json.decode(event.removeprefix("data: ")) for event in events]


async def test_a_chat_is_one_object(http: httpx.AsyncClient):
    answer = (await http.post("/v1/chat/completions", json={"model": "chatty", "messages": [USER]})).json()
    assert answer.pop("id").startswith("chatcmpl-")
    assert answer.pop("created") > 1_700_000_000
    message = {"role": "assistant", "content": "one two"}
    assert answer == {
        "object": "chat.completion", "model": "chatty", "system_fingerprint": "fp_partage",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {
            "prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9, "prompt_tokens_details": {"cached_tokens": 3},
        },
    }  # fmt: skip


async def test_a_chat_streams_events(http: httpx.AsyncClient):
    body = {"model": "chatty", "messages": [USER], "stream": True}
    response = await http.post("/v1/chat/completions", json=body)
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    events = events_of(response)
    assert [event["choices"][0]["delta"] for event in events] == [
        {"role": "assistant", "content": "one"},
        {"content": " two"},
        {},
    ]
    assert [event["choices"][0]["finish_reason"] for event in events] == [None, None, "stop"]
    assert len({event["id"] for event in events}) == 1
    assert {event["object"] for event in events} == {"chat.completion.chunk"}
    assert not any("usage" in event for event in events)


async def test_usage_comes_last_when_asked_for(http: httpx.AsyncClient):
    body = {"model": "chatty", "messages": [USER], "stream": True, "stream_options": {"include_usage": True}}
    *events, last = events_of(await http.post("/v1/chat/completions", json=body))
    assert {event["usage"] for event in events} == {None}
    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 9)


async def test_everything_asked_for_reaches_the_hub(http: httpx.AsyncClient, hub: FakeHub):
    body = {
        "model": "chatty",
        "messages": [
            {"role": "developer", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "tool", "content": "42", "tool_call_id": "c1"},
        ],
        "tools": [TOOL],
        "tool_choice": "auto",
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
        "reasoning_effort": "low",
        "max_completion_tokens": 5,
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.4,
        "seed": 7,
        "stop": ["END"],
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "logit_bias": {"50": -100},
        "logprobs": True,
        "top_logprobs": 3,
        "keep_alive": "5m",
        "options": {"num_ctx": 2048, "top_k": 3},
        "user": "somebody",
    }
    response = await http.post("/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    (request,) = hub.requests
    assert (request.keep_alive_s, request.context_tokens) == (300, 2048)
    work = request.work
    assert isinstance(work, ChatWork)
    assert work.messages == (
        Message(role="system", content="be brief"),
        Message(role="user", content="a\nb"),
        Message(role="assistant", tool_calls=(ToolCall(id="c1", name="f", arguments="{}"),)),
        Message(role="tool", content="42", tool_call_id="c1", tool_name="f"),
    )
    assert (work.tools, work.tool_choice, work.format, work.think) == ((TOOL,), "auto", {"type": "object"}, "low")
    drawn = work.sampling
    assert (drawn.max_tokens, drawn.temperature, drawn.top_p, drawn.top_k, drawn.seed) == (5, 0.5, 0.4, 3, 7)
    assert (drawn.stop, drawn.presence_penalty, drawn.frequency_penalty) == (("END",), 0.1, 0.2)
    assert (drawn.logit_bias, drawn.logprobs) == ({"50": -100}, 3)


@pytest.mark.parametrize(
    ("asked", "format_"), [({"type": "text"}, None), ({"type": "json_object"}, "json"), (None, None)]
)
async def test_response_formats(
    asked: dict[str, str] | None, format_: str | None, http: httpx.AsyncClient, hub: FakeHub
):
    await http.post("/v1/chat/completions", json={"model": "chatty", "messages": [USER], "response_format": asked})
    work = hub.requests[0].work
    assert isinstance(work, ChatWork)
    assert work.format == format_


@pytest.mark.parametrize("image_url", [PNG_URL, {"url": PNG_URL, "detail": "low"}])
async def test_pictures_come_as_data_urls(image_url: str | dict[str, str], http: httpx.AsyncClient, hub: FakeHub):
    content = [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": image_url}]
    await http.post("/v1/chat/completions", json={"model": "seer", "messages": [{"role": "user", "content": content}]})
    work = hub.requests[0].work
    assert isinstance(work, ChatWork)
    assert [(image.data, image.media_type) for image in work.messages[0].images] == [(PNG, "image/png")]


async def test_tool_calls_stream_in_pieces(http: httpx.AsyncClient, hub: FakeHub):
    hub.serve = scripted(
        Delta(tool_calls=((0, ToolCall(id="c1", name="weather", arguments="")),)),
        Delta(tool_calls=((0, ToolCall(id="", name="", arguments='{"city":"Graz"}')),)),
        Done(finish_reason="tool_calls", usage=Usage()),
    )
    body = {"model": "chatty", "messages": [USER], "tools": [TOOL]}
    first, second, last = events_of(await http.post("/v1/chat/completions", json={**body, "stream": True}))
    assert first["choices"][0]["delta"]["tool_calls"] == [
        {"index": 0, "id": "c1", "type": "function", "function": {"name": "weather", "arguments": ""}}
    ]
    assert second["choices"][0]["delta"] == {"tool_calls": [{"index": 0, "function": {"arguments": '{"city":"Graz"}'}}]}
    assert last["choices"][0]["finish_reason"] == "tool_calls"
    whole = (await http.post("/v1/chat/completions", json=body)).json()["choices"][0]
    assert whole["message"] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Graz"}'}}
        ],
    }


async def test_thinking_is_reasoning_here(http: httpx.AsyncClient, hub: FakeHub):
    hub.serve = scripted(Delta(thinking="hm"), Delta(text="yes"), Done(finish_reason="stop", usage=Usage()))
    body = {"model": "chatty", "messages": [USER]}
    first, second, _ = events_of(await http.post("/v1/chat/completions", json={**body, "stream": True}))
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "", "reasoning": "hm"}
    assert second["choices"][0]["delta"] == {"content": "yes"}
    whole = (await http.post("/v1/chat/completions", json=body)).json()
    assert whole["choices"][0]["message"] == {"role": "assistant", "content": "yes", "reasoning": "hm"}


async def test_log_probabilities_of_both_endpoints(http: httpx.AsyncClient, hub: FakeHub):
    tokens = (TokenLogprob(token="a", logprob=-0.5, top=(("b", -1.0),)), TokenLogprob(token=" c", logprob=-0.1))
    hub.serve = scripted(Delta(text="a c", logprobs=tokens), Done(finish_reason="stop", usage=Usage()))
    chat = await http.post("/v1/chat/completions", json={"model": "chatty", "messages": [USER], "logprobs": True})
    assert chat.json()["choices"][0]["logprobs"]["content"][0] == {
        "token": "a",
        "logprob": -0.5,
        "bytes": [97],
        "top_logprobs": [{"token": "b", "logprob": -1.0, "bytes": [98]}],
    }
    text = await http.post("/v1/completions", json={"model": "coder", "prompt": "x", "logprobs": 1})
    assert text.json()["choices"][0]["logprobs"] == {
        "tokens": ["a", " c"],
        "token_logprobs": [-0.5, -0.1],
        "top_logprobs": [{"b": -1.0}, {}],
        "text_offset": [0, 1],
    }


@pytest.mark.parametrize("prompt", ["a b", ["a b"]])
async def test_a_completion_continues_the_bare_text(prompt: str | list[str], http: httpx.AsyncClient, hub: FakeHub):
    body = {"model": "coder", "prompt": prompt, "suffix": "z", "max_tokens": 3}
    answer = (await http.post("/v1/completions", json=body)).json()
    assert answer["id"].startswith("cmpl-")
    assert (answer["object"], answer["choices"][0]["text"]) == ("text_completion", "a b")
    events = events_of(await http.post("/v1/completions", json={**body, "stream": True}))
    assert [event["choices"][0]["text"] for event in events] == ["a", " b", ""]
    work = hub.requests[0].work
    assert isinstance(work, CompletionWork)
    assert (work.prompt, work.suffix, work.raw, work.sampling.max_tokens) == ("a b", "z", True, 3)


async def test_embeddings_as_floats_and_as_base64(http: httpx.AsyncClient, hub: FakeHub):
    body = {"model": "embedder", "input": ["a", "bcd"], "dimensions": 3}
    floats = (await http.post("/v1/embeddings", json=body)).json()
    assert floats == {
        "object": "list",
        "model": "embedder",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [1.0, 0.5, -0.25]},
            {"object": "embedding", "index": 1, "embedding": [3.0, 0.5, -0.25]},
        ],
        "usage": {"prompt_tokens": 2, "total_tokens": 2},
    }
    encoded = (await http.post("/v1/embeddings", json={**body, "encoding_format": "base64"})).json()
    assert struct.unpack("<3f", base64.b64decode(encoded["data"][1]["embedding"])) == (3.0, 0.5, -0.25)
    assert hub.requests[0].work == EmbedWork(inputs=("a", "bcd"), dimensions=3)


async def test_models_are_listed_and_found(http: httpx.AsyncClient):
    chatty = {"id": "chatty:latest", "object": "model", "created": 1795428000, "owned_by": "library"}
    chatty |= {"type": "model", "display_name": "chatty:latest", "created_at": fake_model("chatty").modified_at}
    listed = (await http.get("/v1/models")).json()
    assert (listed["object"], listed["data"][0]) == ("list", chatty)
    assert (await http.get("/v1/models/chatty")).json() == chatty | {"id": "chatty"}
    missing = await http.get("/v1/models/some/body:x")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


CHAT, TEXT, EMBED = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"


@pytest.mark.parametrize(
    ("path", "body", "message", "param"),
    [
        (CHAT, {}, "messages is required", "messages"),
        (CHAT, {"messages": []}, "messages: at least one is needed", "messages"),
        (CHAT, {"messages": [{"role": 1}]}, "messages[0].role: expected string, got integer", "messages[0].role"),
        (CHAT, {"messages": [{"role": "wizard"}]}, 'messages[0].role: "wizard" is none of', "messages[0].role"),
        (CHAT, {"messages": [USER], "logit_bias": {"bad1": 1, "5": 1, "100": 2}}, 'logit_bias: "bad1", "100" is no token id',
         "logit_bias"),
        (TEXT, {"prompt": "a", "logit_bias": {"5": 200}}, "logit_bias: a bias is from -100 to 100", "logit_bias"),
        (CHAT, {"messages": [USER], "n": 0}, "n: from 1 to 64 answers", "n"),
        (TEXT, {"prompt": ["a"] * 9, "n": 8}, "n: from 1 to 64 answers", "n"),
        (CHAT, {"messages": [USER], "temperature": "hot"}, "temperature: expected number or null", "temperature"),
        (CHAT, {"messages": [USER], "temperature": -1}, "temperature must be from 0 to 100, got -1", "temperature"),
        (CHAT, {"messages": [USER], "functions": [{}]}, "functions: this was replaced by tools", None),
        (CHAT, {"messages": [USER], "response_format": {"type": "xml"}}, 'response_format.type: "xml"', "response_format.type"),
        (CHAT, {"messages": [USER], "response_format": {"type": "json_schema"}}, "response_format.json_schema.schema is",
         "response_format.json_schema.schema"),
        (CHAT, {"messages": [USER], "options": {"top_k": "x"}}, "options.top_k must be an integer, got 'x'", "options.top_k"),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
         'messages[0].content[0]: "input_audio" is not supported', None),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text is required",
         "messages[0].content[0].text"),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "http://example.com/a.png"}]}]},
         "messages[0].content[0].image_url: http URLs are not fetched", None),
        (TEXT, {"prompt": [1, 200]}, "prompt: a token id is outside", "prompt"),
        (TEXT, {"prompt": ["a", 1]}, "prompt: texts, token ids or lists", "prompt"),
        (TEXT, {"prompt": []}, "prompt: at least one text is needed", "prompt"),
        (TEXT, {"prompt": [1, 2], "suffix": "x"}, "suffix: it goes with a prompt as text", None),
        (TEXT, {"prompt": "a", "logprobs": 21}, "logprobs must be from 0 to 20", "logprobs"),
        (TEXT, {"prompt": "a", "logprobs": -1}, "logprobs must be from 0 to 20", "logprobs"),
        (TEXT, {"prompt": "a", "echo": True}, "echo: the prompt is not repeated", None),
        (TEXT, {"prompt": "a", "best_of": 3}, "best_of: every answer that is drawn", None),
        (EMBED, {"input": []}, "input: at least one text is needed", "input"),
        (EMBED, {"model": "embedder", "input": [[1, 200]]}, "input: a token id is outside", "input"),
        (EMBED, {"model": "embedder", "input": [-1]}, "input: a token id is outside", "input"),
        (EMBED, {"model": "embedder", "input": ["a", 1]}, "input: texts, token ids or lists", "input"),
        (EMBED, {"model": "embedder", "input": [[1], []]}, "input: an empty list of tokens", "input"),
        (EMBED, {"input": "a", "encoding_format": "hex"}, 'encoding_format must be "float" or "base64"', "encoding_format"),
        (EMBED, {"input": "a", "dimensions": 0}, "dimensions must be at least 1", "dimensions"),
    ],
)  # fmt: skip
async def test_bad_input_is_named(
    path: str, body: dict[str, Any], message: str, param: str | None, http: httpx.AsyncClient
):
    response = await http.post(path, json={"model": "chatty", **body})
    error = response.json()["error"]
    assert response.status_code == 400
    assert error["message"].startswith(message)
    assert (error["type"], error["param"]) == ("invalid_request_error", param)


async def test_an_unknown_model_is_said_how_to_get(http: httpx.AsyncClient):
    response = await http.post(CHAT, json={"model": "nope", "messages": [USER]})
    assert response.status_code == 404
    assert response.json()["error"] == {
        "message": "model 'nope' not found, try pulling it first: partage pull nope",
        "type": "not_found_error",
        "param": None,
        "code": "model_not_found",
    }


async def test_a_prompt_that_is_too_long_has_the_code_clients_look_for(http: httpx.AsyncClient, hub: FakeHub):
    hub.refusal = ContextTooLong("9000 tokens, the model takes 8192")
    response = await http.post(CHAT, json={"model": "chatty", "messages": [USER], "stream": True})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "context_length_exceeded")


async def test_a_quota_says_when_to_come_back(http: httpx.AsyncClient, hub: FakeHub):
    hub.refusal = QuotaExceeded(retry_after_s=30)
    response = await http.post(CHAT, json={"model": "chatty", "messages": [USER]})
    assert (response.status_code, response.headers["retry-after"]) == (429, "30")


@pytest.mark.parametrize("given", [[1, 2, 3], [[1, 2, 3]]], ids=str)
async def test_token_ids_are_embedded_as_they_are(given: list[Any], http: httpx.AsyncClient, hub: FakeHub):
    answer = (await http.post("/v1/embeddings", json={"model": "embedder", "input": given})).json()
    assert answer["data"][0]["embedding"] == [3.0, 0.5, -0.25]
    work = hub.requests[0].work
    assert isinstance(work, EmbedWork)
    assert work.tokens == ((1, 2, 3),)


async def chat_of(http: httpx.AsyncClient, hub: FakeHub, **asked: object) -> ChatWork:
    response = await http.post(CHAT, json={"model": "chatty", "messages": [USER], **asked})
    assert response.status_code == 200, response.text
    work = hub.requests[-1].work
    assert isinstance(work, ChatWork)
    return work


async def test_calls_said_back_may_have_their_arguments_in_any_form(http: httpx.AsyncClient, hub: FakeHub):
    for arguments, text in (('{"a":1}', '{"a":1}'), ({"a": 1}, '{"a":1}'), (None, "{}"), ("", "{}")):
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
        talk = [USER, {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [call]}]
        said = (await chat_of(http, hub, messages=talk)).messages[-1]
        assert (said.tool_calls[0].arguments, said.thinking) == (text, "hm")


async def test_a_refusal_and_an_old_functions_answer_are_taken(http: httpx.AsyncClient, hub: FakeHub):
    refusal = {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}
    work = await chat_of(http, hub, messages=[USER, refusal, {"role": "function", "name": "f", "content": "42"}])
    assert [(one.role, one.content, one.tool_name) for one in work.messages[1:]] == [
        ("assistant", "no", ""),
        ("tool", "42", "f"),
    ]


@pytest.mark.parametrize(
    ("asked", "think"),
    [
        ({"reasoning_effort": "low"}, "low"),
        ({"reasoning": {"effort": "high"}}, "high"),
        ({"reasoning": {"effort": "none"}}, False),
        ({"chat_template_kwargs": {"enable_thinking": False, "other": 1}}, False),
        ({"chat_template_kwargs": {"enable_thinking": True}}, True),
        ({"reasoning": {}, "chat_template_kwargs": {}}, None),
    ],
)
async def test_thinking_is_asked_for_in_all_the_ways_of_peers(
    asked: dict[str, Any], think: object, http: httpx.AsyncClient, hub: FakeHub
):
    assert (await chat_of(http, hub, **asked)).think == think


async def test_a_schema_may_come_with_json_object_as_llama_cpp_has_it(http: httpx.AsyncClient, hub: FakeHub):
    schema = {"type": "object"}
    assert (await chat_of(http, hub, response_format={"type": "json_object", "schema": schema})).format == schema


async def test_an_empty_text_has_a_vector_as_in_ollama(http: httpx.AsyncClient, hub: FakeHub):
    for texts in ("", [""], ["a", ""]):
        answer = await http.post(EMBED, json={"model": "embedder", "input": texts, "encoding_format": "FLOAT"})
        assert len(answer.json()["data"]) == (len(texts) or 1)


async def test_each_prompt_has_its_answer_and_each_answer_its_number(http: httpx.AsyncClient, hub: FakeHub):
    answer = (await http.post(TEXT, json={"model": "coder", "prompt": ["a b", "c d"], "n": 2, "seed": 7})).json()
    assert [(one["index"], one["text"]) for one in answer["choices"]] == [
        (0, "a b"),
        (1, "a b"),
        (2, "c d"),
        (3, "c d"),
    ]
    assert [request.work.sampling.seed for request in hub.requests if isinstance(request.work, CompletionWork)] == [
        7,
        8,
        7,
        8,
    ]
    assert len({request.id for request in hub.requests}) == 4
    one = (await http.post(TEXT, json={"model": "coder", "prompt": "a b"})).json()["usage"]
    usage = answer["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (
        2 * one["prompt_tokens"],
        4 * one["completion_tokens"],
    )


async def test_answers_stream_one_after_another_and_the_last_ends_it(http: httpx.AsyncClient):
    body = {"model": "chatty", "messages": [USER], "n": 2, "stream": True, "stream_options": {"include_usage": True}}
    text = (await http.post(CHAT, json=body)).text
    assert text.count("[DONE]") == 1
    chunks = [msgspec.json.decode(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    choices = [chunk["choices"][0] for chunk in chunks[:-1]]
    for number in (0, 1):
        mine = [one for one in choices if one["index"] == number]
        assert (mine[0]["delta"]["role"], mine[-1]["finish_reason"]) == ("assistant", "stop")
        assert "".join(one["delta"].get("content", "") for one in mine) == USER["content"]
    assert (chunks[-1]["choices"], chunks[-1]["usage"]["completion_tokens"]) == ([], 2 * len(USER["content"].split()))


@pytest.mark.parametrize(("prompt", "tokens"), [([1, 2], [(1, 2)]), ([[1, 2], [3]], [(1, 2), (3,)])])
async def test_a_prompt_may_be_tokens(prompt: object, tokens: list[object], http: httpx.AsyncClient, hub: FakeHub):
    assert (await http.post(TEXT, json={"model": "coder", "prompt": prompt})).status_code == 200
    assert [request.work.tokens for request in hub.requests if isinstance(request.work, CompletionWork)] == tokens
