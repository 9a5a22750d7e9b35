from __future__ import annotations

import httpx
import pytest

from partage.api.fake_hub import FakeHub


async def test_what_runs_is_listed_as_llama_swap_does(http: httpx.AsyncClient):
    running = (await http.get("/running")).json()["running"]
    assert running == [
        {"model": "embedder:latest", "state": "starting", "ttl": 300},
        {"model": "chatty:latest", "state": "ready", "ttl": 0},
    ]


@pytest.mark.parametrize(("method", "path"), [("GET", "/unload"), ("POST", "/api/models/unload")])
async def test_all_are_unloaded(method: str, path: str, http: httpx.AsyncClient, hub: FakeHub):
    answer = await http.request(method, path)
    assert (answer.status_code, answer.text) == (200, "OK")
    assert sorted(hub.unloaded) == sorted(resident.model.name for resident in hub.residents())


async def test_one_is_unloaded_by_its_name(http: httpx.AsyncClient, hub: FakeHub):
    assert (await http.post("/api/models/unload/chatty")).status_code == 200
    assert hub.unloaded == ["chatty:latest"]
    assert (await http.post("/api/models/unload/nope")).status_code == 404


async def test_a_picture_on_somebodys_page_unloads_nothing(http: httpx.AsyncClient, hub: FakeHub):
    answer = await http.get("/unload", headers={"sec-fetch-site": "cross-site", "sec-fetch-dest": "image"})
    assert (answer.status_code, hub.unloaded) == (403, [])


async def test_the_hub_answers_where_peers_look_for_its_health(http: httpx.AsyncClient):
    assert (await http.get("/health")).json() == {"status": "ok"}


async def test_chats_are_there_without_v1_in_openais_words(http: httpx.AsyncClient):
    body = {"model": "chatty", "messages": [{"role": "user", "content": "a"}]}
    assert (await http.post("/chat/completions", json=body)).json()["object"] == "chat.completion"
    wrong = await http.post("/chat/completions", json={"model": 5})
    assert wrong.json()["error"]["type"] == "invalid_request_error"


async def test_models_are_listed_without_v1(http: httpx.AsyncClient):
    assert (await http.get("/models")).json() == (await http.get("/v1/models")).json()
