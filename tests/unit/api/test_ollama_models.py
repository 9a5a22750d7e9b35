from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import msgspec
import pytest

from partage.api.fake_hub import CHATTY, FakeHub, fake_model
from partage.api.ollama_models import parameter_size
from partage.domain import Capability
from partage.errors import DigestMismatch
from partage.models.modelfile import parse
from partage.models.progress import PullProgress
from partage.work import Message


async def test_the_root_says_what_clients_look_for(http: httpx.AsyncClient):
    response = await http.get("/")
    assert (response.status_code, response.text) == (200, "Ollama is running")
    assert (await http.head("/")).status_code == 200


async def test_the_version_is_the_one_of_the_api_that_is_spoken(http: httpx.AsyncClient):
    assert (await http.get("/api/version")).json() == {"version": "0.14.0", "partage": "1.2.3"}
    assert (await http.head("/api/version")).status_code == 200


async def test_there_is_no_cloud(http: httpx.AsyncClient):
    assert (await http.get("/api/status")).json() == {"cloud": {"disabled": True, "source": "config"}}


DETAILS: dict[str, Any] = {
    "parent_model": "",
    "format": "gguf",
    "family": "llama",
    "families": ["llama"],
    "parameter_size": "134.52M",
    "quantization_level": "Q8_0",
    "context_length": 8192,
    "embedding_length": 64,
}


async def test_tags_lists_the_newest_first(http: httpx.AsyncClient, hub: FakeHub):
    hub.add(replace(CHATTY, name="newer:latest", modified_at="2026-12-01T00:00:00Z"))
    models = (await http.get("/api/tags")).json()["models"]
    assert models[0]["name"] == "newer:latest"
    assert models[1] == {
        "name": "chatty:latest",
        "model": "chatty:latest",
        "modified_at": "2026-11-23T10:00:00Z",
        "size": 1000,
        "digest": "ab" * 32,
        "details": DETAILS,
        "capabilities": ["completion", "tools", "thinking"],
    }


async def test_ps_lists_what_is_in_memory_the_longest_first(http: httpx.AsyncClient):
    forever, soon = (await http.get("/api/ps")).json()["models"]
    assert (forever["name"], forever["expires_at"]) == ("chatty:latest", "9999-12-31T23:59:59Z")
    assert (forever["size"], forever["size_vram"], forever["context_length"]) == (5000, 4000, 4096)
    assert (soon["name"], soon["size_vram"], soon["state"]) == ("embedder:latest", 0, "loading")
    assert soon["expires_at"].endswith("Z")


async def test_show_tells_what_is_known(http: httpx.AsyncClient, hub: FakeHub):
    model = replace(
        fake_model("full:latest", Capability.COMPLETION, system="be kind"),
        licence="Apache-2.0",
        template="{{ .Prompt }}",
        parameters={"stop": ["a", "b"], "temperature": 0.5},
    )
    hub.add(model)
    shown = (await http.post("/api/show", json={"model": "full"})).json()
    assert (shown["license"], shown["template"], shown["system"]) == ("Apache-2.0", "{{ .Prompt }}", "be kind")
    assert [line.split() for line in shown["parameters"].splitlines()] == [
        ["stop", '"a"'],
        ["stop", '"b"'],
        ["temperature", "0.5"],
    ]
    assert shown["modelfile"].splitlines()[0] == "FROM /models/full:latest.gguf"
    assert "PARAMETER temperature 0.5" in shown["modelfile"]
    assert shown["model_info"]["general.parameter_count"] == 134_522_880
    assert (shown["details"], shown["capabilities"]) == (DETAILS, ["completion"])
    assert "tensors" not in shown


async def test_what_show_writes_is_a_modelfile_that_create_reads(http: httpx.AsyncClient, hub: FakeHub):
    messages = (Message(role="user", content="hi\nthere"), Message(role="assistant", content='say "ho"'))
    hub.add(replace(CHATTY, name="said:latest", messages=messages, system="Be\nkind.", parameters={"stop": ["a b"]}))
    shown = (await http.post("/api/show", json={"model": "said"})).json()
    assert shown["messages"][0] == {"role": "user", "content": "hi\nthere"}
    read = parse(shown["modelfile"])
    assert read.messages == (("user", "hi\nthere"), ("assistant", 'say "ho"'))
    assert (read.system, read.parameters) == ("Be\nkind.", {"stop": ["a b"]})


async def test_show_verbose_lists_the_tensors(http: httpx.AsyncClient):
    shown = (await http.post("/api/show", json={"name": "chatty", "verbose": True})).json()
    assert shown["tensors"] == [{"name": "token_embd.weight", "type": "Q8_0", "shape": [64, 2_101_920]}]


@pytest.mark.parametrize(
    ("count", "text"), [(12, "12"), (22_700, "23K"), (134_515_008, "134.52M"), (8_030_000_000, "8.0B")]
)
def test_sizes_are_written_as_ollama_writes_them(count: int, text: str):
    assert parameter_size(count) == text


async def test_without_a_file_type_the_most_of_the_bytes_names_the_quantisation(http: httpx.AsyncClient, hub: FakeHub):
    hub.add(replace(CHATTY, anatomy=replace(CHATTY.anatomy, metadata={}), name="bare:latest"))
    shown = (await http.post("/api/show", json={"model": "bare"})).json()
    assert shown["details"]["quantization_level"] == "Q8_0"


STEPS = [
    PullProgress(status="pulling manifest"),
    PullProgress(status="pulling abc", digest="sha256:abc", total_bytes=100, completed_bytes=40),
]


async def test_pull_streams_its_progress(http: httpx.AsyncClient, hub: FakeHub):
    hub.pull_steps = [*STEPS]
    response = await http.post("/api/pull", json={"model": "new"})
    assert response.headers["content-type"] == "application/x-ndjson"
    assert [msgspec.json.decode(line) for line in response.content.splitlines()] == [
        {"status": "pulling manifest"},
        {"status": "pulling abc", "digest": "sha256:abc", "total": 100, "completed": 40},
        {"status": "success"},
    ]


async def test_pull_can_answer_once(http: httpx.AsyncClient, hub: FakeHub):
    hub.pull_steps = [*STEPS]
    response = await http.post("/api/pull", json={"model": "new", "stream": False})
    assert response.json() == {"status": "success"}


async def test_a_pull_that_fails_under_way_says_so_in_the_last_line(http: httpx.AsyncClient, hub: FakeHub):
    hub.pull_steps = [*STEPS, DigestMismatch("not what was promised")]
    response = await http.post("/api/pull", json={"model": "new"})
    assert response.status_code == 200
    assert msgspec.json.decode(response.content.splitlines()[-1]) == {"error": "not what was promised"}


async def test_a_pull_of_what_nobody_has_keeps_its_status(http: httpx.AsyncClient):
    assert (await http.post("/api/pull", json={"model": "nowhere"})).status_code == 404


async def test_delete_removes_the_model(http: httpx.AsyncClient, hub: FakeHub):
    deleted = await http.request("DELETE", "/api/delete", json={"model": "chatty"})
    assert (deleted.status_code, deleted.content) == (200, b"")
    assert CHATTY not in hub.models()
    again = await http.request("DELETE", "/api/delete", json={"model": "chatty"})
    assert (again.status_code, again.json()["error"][:24]) == (404, "model 'chatty' not found")
