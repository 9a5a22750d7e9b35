from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest

from partage.api.fake_hub import CHATTY, FakeHub
from partage.work import ChatWork, Message

OWN = replace(
    CHATTY,
    name="own:latest",
    system="Be kind.",
    messages=(),
    parameters={"temperature": 0.25, "stop": ["own"], "num_predict": 9, "num_ctx": 2048},
)
USER_MESSAGE = Message(role="user")
USER = {"role": "user", "content": "hello"}
BODIES: dict[str, dict[str, Any]] = {
    "/api/chat": {"messages": [USER]},
    "/api/generate": {"prompt": "hello"},
    "/v1/chat/completions": {"messages": [USER]},
    "/v1/messages": {"messages": [USER], "max_tokens": 9},
}
SYSTEM_OF: dict[str, dict[str, Any]] = {
    "/api/chat": {"messages": [{"role": "system", "content": "Be brief."}, USER]},
    "/api/generate": {"prompt": "hello", "system": "Be brief."},
    "/v1/chat/completions": {"messages": [{"role": "system", "content": "Be brief."}, USER]},
    "/v1/messages": {"messages": [USER], "max_tokens": 9, "system": "Be brief."},
}


async def work_of(http: httpx.AsyncClient, hub: FakeHub, path: str, body: dict[str, Any]) -> ChatWork:
    response = await http.post(path, json={"model": "own", **body})
    assert response.status_code == 200, response.text
    work = hub.requests[-1].work
    assert isinstance(work, ChatWork)
    return work


def said(work: ChatWork) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in work.messages]


@pytest.mark.parametrize("path", BODIES)
async def test_what_a_model_brings_is_used_where_the_request_is_silent(
    http: httpx.AsyncClient, hub: FakeHub, path: str
):
    hub.add(OWN)
    work = await work_of(http, hub, path, BODIES[path])
    assert said(work) == [("system", "Be kind."), ("user", "hello")]
    assert (work.sampling.temperature, work.sampling.stop, work.sampling.max_tokens) == (0.25, ("own",), 9)
    assert hub.requests[-1].context_tokens == 2048


@pytest.mark.parametrize("path", BODIES)
async def test_the_clients_system_prompt_goes_before_the_models_and_its_messages_follow(
    http: httpx.AsyncClient, hub: FakeHub, path: str
):
    opening = (replace(USER_MESSAGE, content="hi"), replace(USER_MESSAGE, role="assistant", content="ho"))
    hub.add(replace(OWN, messages=opening))
    work = await work_of(http, hub, path, SYSTEM_OF[path])
    assert said(work) == [("system", "Be brief."), ("user", "hi"), ("assistant", "ho"), ("user", "hello")]


async def test_an_empty_system_prompt_turns_the_models_own_off(http: httpx.AsyncClient, hub: FakeHub):
    hub.add(OWN)
    work = await work_of(http, hub, "/api/generate", {"prompt": "hello", "system": ""})
    assert said(work) == [("user", "hello")]


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
async def test_what_the_request_says_goes_before_the_models_parameters(
    http: httpx.AsyncClient, hub: FakeHub, path: str
):
    hub.add(OWN)
    options = {"temperature": 1.5, "num_predict": 3}
    work = await work_of(http, hub, path, {**BODIES[path], "options": options})
    assert (work.sampling.temperature, work.sampling.max_tokens, work.sampling.stop) == (1.5, 3, ("own",))
