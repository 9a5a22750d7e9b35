"""What Ollama's own integration tests look for, looked for here: fields that are never empty, what is cut, what is kept."""

from __future__ import annotations

import json
import math
from collections.abc import Generator
from pathlib import Path

import httpx
import pytest
from hub_process import client_of_small_hub

from partage.json_value import JsonObject

pytestmark = pytest.mark.live

CHAT, EMBED = "smollm2:135m", "all-minilm:22m"
METRICS = [
    "total_duration",
    "load_duration",
    "prompt_eval_count",
    "prompt_eval_duration",
    "eval_count",
    "eval_duration",
]
SCHEMA: JsonObject = {
    "type": "object",
    "properties": {
        "color": {"type": "string", "enum": ["blue", "violet"]},
        "count": {"type": "integer", "minimum": 1, "maximum": 3},
    },
    "required": ["color", "count"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def http(model_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[httpx.Client]:
    with client_of_small_hub(tmp_path_factory.mktemp("hub"), model_home, CHAT) as client:
        yield client


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", ["/api/generate", "/api/chat"])
def test_no_metric_of_an_answer_is_empty_whether_the_model_was_loaded_or_not(
    http: httpx.Client, path: str, stream: bool
):
    asked = (
        {"prompt": "Say hello."} if path == "/api/generate" else {"messages": [{"role": "user", "content": "Hello."}]}
    )
    body = {"model": CHAT, "stream": stream, "options": {"num_predict": 3, "temperature": 0}, **asked}
    last = json.loads(http.post(path, json=body).text.splitlines()[-1])
    assert [name for name in METRICS if not last[name]] == []
    assert ("context" in last) == (path == "/api/generate")


def test_a_second_generate_goes_on_where_the_first_ended(http: httpx.Client):
    body: JsonObject = {"model": CHAT, "stream": False, "options": {"num_predict": 3, "temperature": 0}}
    first = http.post("/api/generate", json={**body, "prompt": "Say hello."}).json()
    second = http.post("/api/generate", json={**body, "prompt": "And again.", "context": first["context"]}).json()
    assert second["prompt_eval_count"] > first["prompt_eval_count"] + first["eval_count"]


def test_a_schema_binds_and_its_log_probabilities_are_finite(http: httpx.Client):
    body = {"model": CHAT, "stream": False, "format": SCHEMA, "think": False, "logprobs": True, "top_logprobs": 20}
    options = {"temperature": 0, "seed": 23, "num_predict": 96}
    answer = http.post("/api/generate", json={**body, "prompt": "An object, as JSON.", "options": options}).json()
    found = json.loads(answer["response"])
    assert found["color"] in {"blue", "violet"}
    assert found["count"] in {1, 2, 3}
    everything = [one for token in answer["logprobs"] for one in (token, *token["top_logprobs"])]
    assert all(math.isfinite(one["logprob"]) for one in everything)


def test_a_conversation_too_long_loses_its_oldest_messages_unless_told_not_to(http: httpx.Client):
    talk = [
        {"role": "user" if number % 2 == 0 else "assistant", "content": f"{number}: " + "the box was broken. " * 12}
        for number in range(21)
    ]
    body = {"model": CHAT, "messages": talk, "stream": False, "options": {"num_predict": 3}}
    answer = http.post("/api/chat", json=body).json()
    assert answer["done"]
    assert 256 < answer["prompt_eval_count"] <= 512
    refused = http.post("/api/chat", json={**body, "truncate": False})
    assert (refused.status_code, "context" in refused.text) == (400, True)


def test_an_input_to_embed_is_cut_to_num_ctx(http: httpx.Client):
    long = "word " * 100
    body = {"model": EMBED, "input": ["short", long, "medium text"], "options": {"num_ctx": 30}}
    answer = http.post("/api/embed", json=body).json()
    assert len(answer["embeddings"]) == 3
    assert 30 < answer["prompt_eval_count"] <= 90
    refused = http.post("/api/embed", json={**body, "truncate": False})
    assert (refused.status_code, "exceeds maximum context length" in refused.text) == (400, True)
    one = http.post("/api/embed", json={"model": EMBED, "input": "test"}).json()["prompt_eval_count"]
    three = http.post("/api/embed", json={"model": EMBED, "input": ["test"] * 3}).json()["prompt_eval_count"]
    assert three == 3 * one
