"""Whatever is posted, the answer is the caller's fault or an answer: never a 500, and always in the dialect's shape."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from partage.api import anthropic_wire, ollama_wire, openai_wire
from partage.api.app import create_app
from partage.api.fake_hub import FakeHub
from partage.api.ports import ApiSettings

WIRE: dict[str, type[msgspec.Struct]] = {
    "/api/chat": ollama_wire.ChatIn,
    "/api/generate": ollama_wire.GenerateIn,
    "/api/embed": ollama_wire.EmbedIn,
    "/api/embeddings": ollama_wire.EmbeddingsIn,
    "/api/show": ollama_wire.ShowIn,
    "/api/pull": ollama_wire.PullIn,
    "/api/push": ollama_wire.PullIn,
    "/api/create": ollama_wire.CreateIn,
    "/api/copy": ollama_wire.CopyIn,
    "/v1/chat/completions": openai_wire.ChatIn,
    "/v1/completions": openai_wire.CompletionIn,
    "/v1/embeddings": openai_wire.EmbeddingsIn,
    "/v1/messages": anthropic_wire.MessagesIn,
}

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
USUAL = st.sampled_from(
    ["chatty", "embedder", "user", "tool", "text", "image_url", "data:image/png;base64,", "5m", "json"]
)
NAMES = st.sampled_from(
    ["role", "content", "images", "type", "text", "image_url", "url", "function", "name", "arguments", "tool_calls",
     "schema", "json_schema", "include_usage", "temperature", "top_k", "stop", "num_ctx", "seed", "num_predict"]
)  # fmt: skip
VALUES = st.recursive(
    SCALARS | USUAL,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(max_size=3), inner, max_size=4),
    max_leaves=8,
)
MESSAGES = st.lists(st.fixed_dictionaries({"role": USUAL, "content": USUAL}), max_size=2)


@st.composite
def posts(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A path and a body whose fields are the right ones, with values that often are not."""
    path = draw(st.sampled_from(sorted(WIRE)))
    fields = sorted(field.encode_name for field in msgspec.structs.fields(WIRE[path]))
    body = draw(st.dictionaries(st.sampled_from(fields), VALUES, max_size=5))
    if draw(st.booleans()):
        body["model"] = draw(USUAL)
        body["messages"] = draw(MESSAGES)
    return path, body


def post(path: str, body: bytes) -> httpx.Response:
    async def once() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(FakeHub(), ApiSettings(version="x")))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.post(path, content=body)

    return asyncio.run(once())


def assert_fine(path: str, response: httpx.Response) -> None:
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        error = response.json()["error"]
        assert (error["message"] if path.startswith("/v1/") else error) != ""


@given(posts())
@hypothesis_settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_body_makes_us_fail(case: tuple[str, dict[str, Any]]):
    path, body = case
    assert_fine(path, post(path, msgspec.json.encode(body)))


@pytest.mark.parametrize("path", WIRE)
@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"0", b'""', b"[]", b"{}", b"\x00", b"\xff\xfe", b"{" * 1000, b"[" * 100_000, b'{"model":',
        b'{"model":"\\ud800"}', b'{"model":"chatty","model":"embedder"}', b'{"model":"' + b"m" * 100_000 + b'"}',
        b'{"model":"chatty","keep_alive":1e308}', b'{"model":"chatty","options":{"seed":1e308}}',
        b'{"model":"chatty","options":{"num_ctx":123456789012345678901234567890}}', b'{"model":"../../etc/passwd"}',
    ],
    ids=lambda body: body[:24].decode("latin-1"),
)  # fmt: skip
def test_no_hostile_body_makes_us_fail(path: str, body: bytes):
    assert_fine(path, post(path, body))
