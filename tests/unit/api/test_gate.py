from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace

import httpx
import pytest

from partage.api.app import create_app
from partage.api.fake_hub import FakeHub
from partage.api.ports import ApiSettings


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:11434", "127.0.0.1:11434", "[::1]:11434", "192.168.1.5", "0.0.0.0:1", "box.local",
             "host.docker.internal:11434", "LOCALHOST"],
)  # fmt: skip
async def test_local_hosts_are_let_in(host: str, http: httpx.AsyncClient):
    assert (await http.get("/api/version", headers={"host": host})).status_code == 200


@pytest.mark.parametrize("host", ["evil.example.com", "evil.example.com:11434", "localhost.example.com", "8.8.8.8"])
async def test_other_hosts_are_not(host: str, http: httpx.AsyncClient):
    response = await http.get("/api/version", headers={"host": host})
    assert (response.status_code, response.json()) == (403, {"error": f'host "{host}" is not allowed here'})


async def test_a_refused_host_is_told_in_the_dialect(http: httpx.AsyncClient):
    response = await http.get("/v1/models", headers={"host": "evil.example.com"})
    assert response.json()["error"]["type"] == "permission_error"


@pytest.fixture
async def open_http(hub: FakeHub, settings: ApiSettings) -> AsyncGenerator[httpx.AsyncClient]:
    app = create_app(hub, replace(settings, loopback=False, allowed_origins=("https://*.example.com",)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://hub.example.com") as client:
        yield client


async def test_bound_to_the_network_every_host_is_let_in(open_http: httpx.AsyncClient):
    assert (await open_http.get("/api/version")).status_code == 200


async def test_a_host_can_be_allowed_by_name(hub: FakeHub, settings: ApiSettings):
    app = create_app(hub, replace(settings, allowed_hosts=("Hub.Example.com",)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://hub.example.com") as client:
        assert (await client.get("/api/version")).status_code == 200


LOCAL = [
    "https://localhost:5173",
    "http://localhost:3000",
    "https://127.0.0.1:8080",
    "app://obsidian.md",
    "tauri://localhost",
]


@pytest.mark.parametrize("origin", LOCAL)
async def test_local_pages_may_read_the_answers(origin: str, http: httpx.AsyncClient):
    response = await http.get("/api/tags", headers={"origin": origin})
    assert response.headers["access-control-allow-origin"] == origin


async def test_a_page_of_our_own_needs_no_permission(open_http: httpx.AsyncClient):
    response = await open_http.get("/api/tags", headers={"origin": "http://hub.example.com"})
    assert response.status_code == 200
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize("origin", ["https://evil.example.org", "null", "http://localhost.example.org"])
async def test_other_peoples_pages_can_do_nothing(origin: str, http: httpx.AsyncClient, hub: FakeHub):
    body = {"model": "chatty", "messages": [{"role": "user", "content": "x"}]}
    response = await http.post("/api/chat", json=body, headers={"origin": origin})
    assert response.status_code == 403
    assert "access-control-allow-origin" not in response.headers
    assert hub.requests == []


async def test_an_origin_can_be_allowed_with_a_wildcard(open_http: httpx.AsyncClient):
    origin = "https://app.example.com"
    response = await open_http.get("/api/tags", headers={"origin": origin})
    assert response.headers["access-control-allow-origin"] == origin


async def test_browsers_may_ask_first(http: httpx.AsyncClient):
    headers = {
        "origin": "http://localhost:3000",
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type, authorization, x-stainless-os",
    }
    response = await http.options("/api/chat", headers=headers)
    assert response.status_code == 200
    assert "POST" in response.headers["access-control-allow-methods"]
    assert "authorization" in response.headers["access-control-allow-headers"]
