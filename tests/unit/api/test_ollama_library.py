from __future__ import annotations

from typing import Any

import httpx
import msgspec
import pytest

from partage.api.fake_hub import CHATTY, FakeHub
from partage.errors import DigestMismatch
from partage.models.create import Recipe
from partage.models.progress import PullProgress

DIGEST = f"sha256:{'ab' * 32}"


def lines(response: httpx.Response) -> list[Any]:
    return [msgspec.json.decode(line) for line in response.content.splitlines()]


async def recipe_of(http: httpx.AsyncClient, hub: FakeHub, body: dict[str, Any]) -> Recipe:
    response = await http.post("/api/create", json={"model": "new", **body})
    assert response.status_code == 200, response.text
    order, name, recipe = hub.orders[-1]
    assert (order, name) == ("create", "new")
    assert isinstance(recipe, Recipe)
    return recipe


async def test_push_streams_its_progress(http: httpx.AsyncClient, hub: FakeHub):
    hub.pull_steps = [PullProgress("pushing abc", DIGEST, 100, 40)]
    response = await http.post("/api/push", json={"model": "chatty", "insecure": True})
    assert lines(response) == [
        {"status": "pushing abc", "digest": DIGEST, "total": 100, "completed": 40},
        {"status": "success"},
    ]
    assert hub.orders == [("push", "chatty:latest", True)]


async def test_a_push_that_fails_at_once_keeps_its_status(http: httpx.AsyncClient, hub: FakeHub):
    assert (await http.post("/api/push", json={"model": "nobody"})).status_code == 404
    hub.pull_steps = [DigestMismatch("not what it was")]
    failed = await http.post("/api/push", json={"model": "chatty", "stream": False})
    assert (failed.status_code, failed.json()) == (502, {"error": "not what it was"})


async def test_insecure_reaches_the_pull(http: httpx.AsyncClient, hub: FakeHub):
    hub.pull_steps = [PullProgress("pulling manifest")]
    await http.post("/api/pull", json={"model": "x", "insecure": True})
    assert hub.orders == [("pull", "x", True)]


async def test_create_takes_every_field(http: httpx.AsyncClient, hub: FakeHub):
    body = {
        "from": "chatty",
        "template": "{{ .Prompt }}",
        "license": ["MIT", "and more"],
        "system": "Be kind.",
        "parameters": {"temperature": 0.5, "stop": ["a"]},
        "messages": [{"role": "user", "content": "hi"}],
        "quantize": "q8_0",
    }
    assert await recipe_of(http, hub, body) == Recipe(
        base="chatty",
        template="{{ .Prompt }}",
        licence="MIT\n\nand more",
        system="Be kind.",
        parameters={"temperature": 0.5, "stop": ["a"]},
        messages=(("user", "hi"),),
        quantise="q8_0",
    )


async def test_create_of_files_that_were_sent(http: httpx.AsyncClient, hub: FakeHub):
    assert (await recipe_of(http, hub, {"files": {"x.gguf": DIGEST}})).digests == (DIGEST,)


async def test_create_of_a_modelfile(http: httpx.AsyncClient, hub: FakeHub):
    recipe = await recipe_of(http, hub, {"modelfile": f"FROM @{DIGEST}\nSYSTEM Be kind.", "quantization": "q4_0"})
    assert (recipe.digests, recipe.system, recipe.quantise) == ((DIGEST,), "Be kind.", "q4_0")


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"modelfile": "FROM /etc/passwd"}, "POST /api/blobs/DIGEST"),
        ({"modelfile": "SYSTEM x"}, "no FROM"),
        ({"path": "/etc/Modelfile"}, "not read for clients"),
        ({"from": "x", "adapters": {"a": DIGEST}}, "adapters"),
        ({"from": "x", "parameters": {"stop": {}}}, "parameters"),
        ({"from": 7}, "from: expected string"),
    ],
)
async def test_create_refuses_what_it_cannot_use(http: httpx.AsyncClient, body: dict[str, Any], problem: str):
    response = await http.post("/api/create", json={"model": "new", **body})
    assert response.status_code == 400
    assert problem in response.json()["error"]


async def test_create_can_answer_once(http: httpx.AsyncClient):
    response = await http.post("/api/create", json={"model": "new", "from": "chatty", "stream": False})
    assert response.json() == {"status": "success"}


async def test_copy_gives_a_second_name(http: httpx.AsyncClient, hub: FakeHub):
    copied = await http.post("/api/copy", json={"source": "chatty", "destination": "second:latest"})
    assert (copied.status_code, copied.content) == (200, b"")
    assert hub.model("second").digest == CHATTY.digest
    assert (await http.post("/api/copy", json={"source": "nobody", "destination": "x"})).status_code == 404
    assert (await http.post("/api/copy", json={"source": "chatty"})).json()["error"] == "destination is required"


async def test_a_blob_larger_than_other_bodies_may_be_is_taken_in(http: httpx.AsyncClient, hub: FakeHub):
    assert (await http.head(f"/api/blobs/{DIGEST}")).status_code == 404
    data = b"x" * 20_000  # twice the limit of these tests
    assert (await http.post(f"/api/blobs/{DIGEST}", content=data)).status_code == 201
    assert hub.blobs == {DIGEST: data}
    assert hub.orders == [("blob", DIGEST, len(data))]
    assert (await http.head(f"/api/blobs/{DIGEST}")).status_code == 200
    assert (await http.post(f"/api/blobs/{DIGEST}", content=data)).status_code == 200
    assert len(hub.orders) == 1
