from __future__ import annotations

import gzip
import re
from collections.abc import AsyncGenerator
from pathlib import Path

import httpx
import msgspec
import pytest
from starlette.routing import Route

from partage.api import anthropic_wire, ollama_wire, openai_wire
from partage.api.app import create_app
from partage.api.fake_hub import FakeHub
from partage.api.options import SAMPLING
from partage.api.ports import ApiSettings
from partage.domain import Client
from partage.errors import ShuttingDown

CHAT = {"model": "chatty", "messages": [{"role": "user", "content": "x"}]}
DOCS = Path(__file__).parents[3] / "docs" / "api.md"


def test_every_route_has_a_line_in_the_docs(hub: FakeHub, settings: ApiSettings):
    text = DOCS.read_text()
    for route in create_app(hub, settings).routes:
        assert isinstance(route, Route)
        (method,) = ((route.methods or set()) - {"HEAD"}) or {"HEAD"}
        assert f"| {method} `{route.path}` |" in text


WIRE = [
    ollama_wire.ChatIn, ollama_wire.GenerateIn, ollama_wire.MessageIn, ollama_wire.EmbedIn, ollama_wire.EmbeddingsIn,
    ollama_wire.ShowIn, ollama_wire.PullIn, openai_wire.ChatIn, openai_wire.CompletionIn, openai_wire.EmbeddingsIn,
    anthropic_wire.MessagesIn,
]  # fmt: skip


def test_every_field_and_option_that_is_read_is_in_the_docs():
    text = DOCS.read_text()
    fields = {field.encode_name for wire in WIRE for field in msgspec.structs.fields(wire)}
    names = (fields | SAMPLING.keys() | {"num_ctx", "stop"}) - {"role"}
    assert [name for name in sorted(names) if not re.search(rf"`(messages\[\]\.)?{name}(\.\w+)?`", text)] == []


async def test_an_unknown_route_is_told_in_the_dialect(http: httpx.AsyncClient):
    ollama = await http.get("/api/nothing")
    assert (ollama.status_code, ollama.json()["error"][:29]) == (404, "there is no /api/nothing here")
    openai = await http.post("/v1/nothing")
    assert (openai.status_code, openai.json()["error"]["type"]) == (404, "not_found_error")


async def test_a_wrong_method_is_told_the_right_one(http: httpx.AsyncClient):
    response = await http.get("/api/chat")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert response.json() == {"error": "GET is not allowed on /api/chat; use POST"}
    openai = await http.delete("/v1/models")
    assert openai.json()["error"]["message"] == "DELETE is not allowed on /v1/models; use GET or HEAD"


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions"])
async def test_a_body_over_the_limit_is_refused_by_its_announced_length(path: str, http: httpx.AsyncClient):
    response = await http.post(path, content=b"x" * 10_001)
    assert response.status_code == 413


async def test_a_body_of_unannounced_length_is_counted_and_read_no_further(http: httpx.AsyncClient):
    chunks_taken = 0

    async def chunks() -> AsyncGenerator[bytes]:
        nonlocal chunks_taken
        for _ in range(1000):
            chunks_taken += 1
            yield b"x" * 1000

    response = await http.post("/api/chat", content=chunks())
    assert response.status_code == 413
    assert chunks_taken == 11


async def test_a_body_in_chunks_is_put_together(http: httpx.AsyncClient):
    async def chunks() -> AsyncGenerator[bytes]:
        for piece in (b'{"model":"chatty",', b'"stream":false,"messages":', b'[{"role":"user","content":"x"}]}'):
            yield piece

    assert (await http.post("/api/chat", content=chunks())).json()["message"]["content"] == "x"


async def test_a_compressed_body_is_unpacked_and_bounded(http: httpx.AsyncClient):
    async def post(body: bytes, encoding: str = "gzip") -> tuple[int, str]:
        response = await http.post("/api/chat", content=body, headers={"content-encoding": encoding})
        return response.status_code, response.text

    body = b'{"model": "chatty", "messages": [{"role": "user", "content": "one two"}], "stream": false}'
    status, text = await post(gzip.compress(body))
    assert (status, "one two" in text) == (200, True)
    status, text = await post(gzip.compress(bytes(20_000)))
    assert (status, "unpacks to more" in text) == (413, True)
    status, text = await post(b"\x1f\x8b")
    assert (status, "content-encoding" in text) == (400, True)
    status, text = await post(body, "rot13")
    assert (status, "rot13" in text) == (400, True)


@pytest.mark.parametrize(
    "headers", [{"authorization": "Bearer sesame"}, {"authorization": "bearer  sesame"}, {"x-api-key": "sesame"}]
)
async def test_a_key_says_who_calls(headers: dict[str, str], http: httpx.AsyncClient, hub: FakeHub):
    hub.keys = {"sesame": Client(name="ali")}
    assert (await http.post("/api/chat", json=CHAT, headers=headers)).status_code == 200
    assert hub.requests[0].client.name == "ali"


async def test_without_keys_the_address_says_who_calls(http: httpx.AsyncClient, hub: FakeHub):
    await http.post("/api/chat", json=CHAT)
    assert hub.requests[0].client.name == "127.0.0.1"


async def test_where_keys_are_needed_only_the_harmless_is_open(http: httpx.AsyncClient, hub: FakeHub):
    hub.keys = {"sesame": Client(name="ali")}
    for path in ("/", "/api/version", "/healthz"):
        assert (await http.get(path)).status_code == 200
    for path in ("/api/tags", "/admin/status"):
        refused = await http.get(path)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    openai = await http.post("/v1/chat/completions", json=CHAT, headers={"authorization": "Bearer wrong"})
    assert (openai.status_code, openai.json()["error"]["code"]) == (401, "invalid_api_key")


async def test_every_answer_has_an_id_of_its_own(http: httpx.AsyncClient):
    first, second = [await http.post("/v1/chat/completions", json=CHAT) for _ in range(2)]
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert first.json()["id"] == f"chatcmpl-{first.headers['x-request-id']}"


async def test_health_follows_the_hub(http: httpx.AsyncClient, hub: FakeHub):
    assert (await http.get("/healthz")).json() == {"status": "ok"}
    hub.refusal = ShuttingDown()
    assert (await http.get("/healthz")).status_code == 503


async def test_the_status_is_the_hubs_own(http: httpx.AsyncClient):
    assert (await http.get("/admin/status")).json() == {"models": 4}


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/v1/images/generations", "/api/me", "/v1/batches"])
async def test_what_is_not_here_says_what_to_do_instead(path: str, http: httpx.AsyncClient):
    answer = await http.post(path, json={})
    assert answer.status_code == 404
    assert f"there is no {path} here; " in answer.text
    assert "docs/api.md" not in answer.text
