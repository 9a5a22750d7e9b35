"""What the tests of llama.cpp's server, of vLLM and of Ollama's middleware look for, looked for here with a real model."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path

import httpx
import pytest
from hub_process import client_of_small_hub

from partage.json_value import JsonObject, JsonValue

pytestmark = pytest.mark.live

CHAT, EMBED = "smollm2:135m", "all-minilm:22m"
COUNT: list[JsonValue] = [{"role": "user", "content": "Count: 1, 2, 3, 4, 5, 6, 7, 8, 9"}]


@pytest.fixture(scope="module")
def http(model_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[httpx.Client]:
    with client_of_small_hub(tmp_path_factory.mktemp("hub"), model_home, CHAT) as client:
        yield client


def test_a_message_says_which_stop_sequence_ended_it_and_starts_with_its_prompts_tokens(http: httpx.Client):
    body: JsonObject = {"model": CHAT, "max_tokens": 60, "messages": COUNT, "temperature": 0}
    words = http.post("/v1/messages", json=body).json()["content"][0]["text"].split()
    last, other = words[3], "<never said>"
    stopped = http.post("/v1/messages", json={**body, "stop_sequences": [other, last]}).json()
    assert (stopped["stop_reason"], stopped["stop_sequence"]) == ("stop_sequence", last)
    stream = http.post("/v1/messages", json={**body, "stop_sequences": [last], "stream": True}).text
    events = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: ")]
    usage = events[0]["message"]["usage"]
    assert usage["input_tokens"] == sum(stopped["usage"][name] for name in ("input_tokens", "cache_read_input_tokens"))
    assert events[-2]["delta"] == {"stop_reason": "stop_sequence", "stop_sequence": last}


def test_answers_in_a_row_and_roles_of_a_template_are_no_error(http: httpx.Client):
    body: JsonObject = {"model": CHAT, "max_tokens": 3}
    twice: list[JsonValue] = [
        *COUNT,
        {"role": "assistant", "content": "1, 2"},
        {"role": "assistant", "content": "3, 4"},
    ]
    assert http.post("/v1/chat/completions", json={**body, "messages": twice}).status_code == 200
    control: list[JsonValue] = [{"role": "control", "content": "thinking"}, {"role": "User", "content": "hi"}]
    assert http.post("/api/chat", json={"model": CHAT, "messages": control, "stream": False}).status_code == 200


def test_a_message_too_long_by_itself_is_answered_from_its_end_unless_told_not_to(http: httpx.Client):
    talk: list[JsonValue] = [{"role": "user", "content": "word " * 3000 + "Say hi."}]
    body: JsonObject = {"model": CHAT, "messages": talk, "stream": False, "options": {"num_predict": 3}}
    answer = http.post("/api/chat", json=body).json()
    assert answer["eval_count"] >= 1
    assert 300 < answer["prompt_eval_count"] <= 430
    assert http.post("/api/chat", json={**body, "truncate": False}).status_code == 400
    raw: JsonObject = {"model": CHAT, "prompt": "word " * 3000, "raw": True, "stream": False}
    answer = http.post("/api/generate", json={**raw, "options": {"num_predict": 3}}).json()
    assert 300 < answer["prompt_eval_count"] <= 430


def test_a_template_of_the_request_is_what_the_model_reads(http: httpx.Client):
    body: JsonObject = {"model": CHAT, "stream": False, "options": {"num_predict": 2, "temperature": 0}}
    template = {"prompt": "two, three,", "system": "One,", "template": "{{ .System }} {{ .Prompt }}"}
    laid_out = http.post("/api/generate", json={**body, **template}).json()
    raw = http.post("/api/generate", json={**body, "raw": True, "prompt": "One, two, three,"}).json()
    names = ("response", "eval_count")
    assert [laid_out[name] for name in names] == [raw[name] for name in names]


def test_an_empty_text_has_a_vector_too(http: httpx.Client):
    answer = http.post("/v1/embeddings", json={"model": EMBED, "input": ["", "a"]}).json()
    assert [len(one["embedding"]) for one in answer["data"]] == [384, 384]


def test_several_prompts_texts_or_tokens_have_their_answers(http: httpx.Client):
    body: JsonObject = {"model": CHAT, "max_tokens": 4, "temperature": 0}
    several = http.post("/v1/completions", json={**body, "prompt": ["One, two,", "A, B,"]}).json()
    alone = [http.post("/v1/completions", json={**body, "prompt": text}).json() for text in ("One, two,", "A, B,")]
    assert [one["text"] for one in several["choices"]] == [one["choices"][0]["text"] for one in alone]
    assert several["usage"]["prompt_tokens"] == sum(one["usage"]["prompt_tokens"] for one in alone)
    assert (
        http.post("/v1/completions", json={**body, "prompt": [[1, 2, 3], [4, 5]]}).json()["usage"]["prompt_tokens"] == 5
    )
    drawn = http.post(
        "/v1/chat/completions", json={"model": CHAT, "messages": COUNT, "n": 3, "max_tokens": 8, "seed": 1}
    )
    assert len({one["message"]["content"] for one in drawn.json()["choices"]}) > 1
