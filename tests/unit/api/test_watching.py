"""The operator's endpoints over a fake watch: /metrics, /admin/alerts, /admin/history, /admin/pin, /admin/pause."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import httpx
import pytest

from partage.api.app import create_app
from partage.api.fake_hub import FakeHub
from partage.api.ports import ApiSettings
from partage.domain import Client
from partage.json_value import JsonObject


class FakeWatch:
    def metrics_text(self) -> bytes:
        return b"partage_build_info 1\n"

    def alerts_json(self) -> JsonObject:
        return {"standing": [], "history": []}

    def machine_json(self) -> JsonObject:
        return {"gpus": []}

    def history_json(self, seconds: float) -> JsonObject:
        return {"seconds": seconds}


@pytest.fixture
async def watched(hub: FakeHub, settings: ApiSettings) -> AsyncGenerator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(hub, settings, FakeWatch()), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


async def test_prometheus_gets_its_own_content_type(watched: httpx.AsyncClient):
    answer = await watched.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.text == "partage_build_info 1\n"


async def test_alerts_machine_and_history_are_json(watched: httpx.AsyncClient):
    assert (await watched.get("/admin/alerts")).json() == {"standing": [], "history": []}
    assert (await watched.get("/admin/machine")).json() == {"gpus": []}
    assert (await watched.get("/admin/history")).json() == {"seconds": 3600.0}
    assert (await watched.get("/admin/history?last=10m")).json() == {"seconds": 600.0}
    refused = await watched.get("/admin/history?last=yesterday")
    assert refused.status_code == 400
    assert "last" in refused.text


async def test_where_keys_are_required_metrics_need_one_too(watched: httpx.AsyncClient, hub: FakeHub):
    hub.keys = {"k": Client(name="prometheus")}
    assert (await watched.get("/metrics")).status_code == 401
    assert (await watched.get("/metrics", headers={"Authorization": "Bearer k"})).status_code == 200


async def test_a_hub_without_a_watch_has_no_metrics(http: httpx.AsyncClient):
    assert (await http.get("/metrics")).status_code == 404


async def test_a_model_is_pinned_and_unpinned(http: httpx.AsyncClient, hub: FakeHub):
    assert (await http.post("/admin/pin", json={"model": "chatty"})).json() == {"model": "chatty", "pinned": True}
    assert (await http.post("/admin/pin", json={"model": "embedder", "pinned": False})).status_code == 200
    assert hub.pins == {"chatty:latest": True, "embedder:latest": False}
    assert (await http.post("/admin/pin", json={"model": "nobody"})).status_code == 404
    assert (await http.post("/admin/pin", json={"pinned": True})).status_code == 400


async def test_a_model_or_a_lease_is_paused_and_let_go(http: httpx.AsyncClient, hub: FakeHub):
    assert (await http.post("/admin/pause", json={"model": "chatty"})).json() == {"model": "chatty", "paused": True}
    assert (await http.post("/admin/pause", json={"lease": "train-1", "paused": False})).status_code == 200
    assert hub.pauses == {"chatty:latest": True, "train-1": False}
    assert (await http.post("/admin/pause", json={"model": "nobody"})).status_code == 404
    assert (await http.post("/admin/pause", json={"lease": "nobody"})).status_code == 404
    for unclear in ({}, {"model": "chatty", "lease": "train-1"}):
        assert (await http.post("/admin/pause", json=unclear)).status_code == 400
