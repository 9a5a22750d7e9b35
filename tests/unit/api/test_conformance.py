"""Every row of the tables of fields in docs/api.md, tried: what is said to be taken is, and by its name when it is wrong."""

from __future__ import annotations

import base64
import copy
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from partage.api.memory import remember

DOCS = Path(__file__).parents[3] / "docs" / "api.md"
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
TALK = [{"role": "user", "content": "one two"}]
TOOL = {"type": "function", "name": "f", "function": {"name": "f"}, "input_schema": {"type": "object"}}

TABLES: dict[str, tuple[str, ...]] = {
    "### `/api/chat` and `/api/generate`": ("/api/chat", "/api/generate"),
    "### `options`": ("/api/chat",),
    "### `/api/embed`, `/api/embeddings`": ("/api/embed",),
    "### `/v1/chat/completions` and `/v1/completions`": ("/v1/chat/completions", "/v1/completions"),
    "### `/v1/responses`": ("/v1/responses",),
    "### `/v1/embeddings`": ("/v1/embeddings",),
    "### `/v1/messages`": ("/v1/messages",),
}
"""Heading -> the endpoint of each column."""

BASE: dict[str, dict[str, Any]] = {
    "/api/chat": {"model": "chatty", "messages": TALK},
    "/api/generate": {"model": "chatty", "prompt": "a b"},
    "/api/embed": {"model": "embedder", "input": "a"},
    "/api/embeddings": {"model": "embedder", "prompt": "a"},
    "/v1/chat/completions": {"model": "chatty", "messages": TALK},
    "/v1/completions": {"model": "coder", "prompt": "a b"},
    "/v1/embeddings": {"model": "embedder", "input": "a"},
    "/v1/responses": {"model": "chatty", "input": "a"},
    "/v1/messages": {"model": "chatty", "messages": TALK, "max_tokens": 9},
}
MODELS = {"images": "seer", "messages[].images": "seer", "image_url": "seer", "suffix": "coder"}
"""Fields that not every model can."""

GOOD: dict[str, Any] = {
    "messages": TALK, "messages[].content": "a", "messages[].images": [PNG], "messages[].thinking": "hm", "images": [PNG],
    "messages[].tool_calls": [{"function": {"name": "f", "arguments": {}}}], "messages[].tool_name": "f",
    "messages[].tool_call_id": "c", "tools": [TOOL], "tool_choice": "auto", "prompt": "a", "input": "a", "system": "s",
    "raw": True, "suffix": "c", "template": "{{ .Prompt }}", "context": remember((), "a"), "stream": False, "format": "json", "think": True,
    "logprobs": True, "top_logprobs": 2, "keep_alive": "5m", "options": {"seed": 1}, "stop": ["x"], "options.stop": ["x"], "truncate": True,
    "dimensions": 2, "max_tokens": 5, "max_completion_tokens": 5, "max_output_tokens": 5, "logit_bias": {"1": 2.0},
    "stream_options.include_usage": True, "response_format": {"type": "json_object"}, "reasoning_effort": "low",
    "n": 1, "best_of": 1, "echo": True, "functions": [{"name": "f"}], "instructions": "s", "text.format": {"type": "text"},
    "reasoning.effort": "low", "chat_template_kwargs.enable_thinking": True, "messages[].reasoning": "hm",
    "messages[].reasoning_content": "hm", "output_config.effort": "low",
    "output_config.format": {"type": "json_schema", "schema": {"type": "object"}}, "include": ["message.output_text.logprobs"], "previous_response_id": "r", "background": True,
    "conversation": "c", "metadata": {"a": "b"}, "encoding_format": "base64", "stop_sequences": ["x"],
    "thinking": {"type": "enabled"}, "image_url": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}],
    "other parts (audio, files)": [{"type": "input_audio"}], "any other": 5,
}  # fmt: skip
GOOD_AT = {
    ("/v1/completions", "logprobs"): 2,
    ("/v1/messages", "tool_choice"): {"type": "auto"},
    ("/v1/messages", "tools"): [{"name": "f", "input_schema": {"type": "object"}}],
    ("/v1/responses", "prompt"): {"id": "p"},
}
WRONG = {"tools": 5, "image_url": [{"type": "image_url", "image_url": {"url": 5}}]}
"""For all others a list of an object is wrong."""
PLACES = {
    "image_url": "messages[].content",
    "other parts (audio, files)": "messages[].content",
    "any other": "options.other",
}


@dataclass(frozen=True)
class Row:
    path: str
    field: str
    mark: str

    def __str__(self) -> str:
        return f"{self.path} {self.field} {self.mark}"

    def body(self, value: object) -> dict[str, Any]:
        body = copy.deepcopy(BASE[self.path])
        body["model"] = MODELS.get(self.field, body["model"])
        if self.field == "top_logprobs" and self.path != "/v1/responses":
            body["logprobs"] = True
        holder: Any = body
        *parents, leaf = PLACES.get(self.field, self.field).split(".")
        for parent in parents:
            holder = holder[parent[:-2]][0] if parent.endswith("[]") else holder.setdefault(parent, {})
        holder[leaf] = value
        return body

    @property
    def good(self) -> object:
        return GOOD_AT.get((self.path, self.field), GOOD.get(self.field, 0.5 if "options." not in self.field else 1))

    @property
    def leaf(self) -> str:
        return self.field.rpartition(".")[2]


def rows() -> list[Row]:
    found: list[Row] = []
    paths: tuple[str, ...] = ()
    heading = ""
    for line in DOCS.read_text().splitlines():
        if line.startswith("#"):
            heading, paths = line, TABLES.get(line, ())
        elif paths and line.startswith("| ") and not line.startswith(("| field", "| option ")):
            first, *cells = [cell.strip() for cell in line.strip("|").split("|")]
            for name in re.findall(r"`([^`]+)`", first) or [first]:
                field = f"options.{name}" if heading == "### `options`" and name != "any other" else name
                at = {"prompt": "/api/embeddings"} if paths == ("/api/embed",) else {}
                marks = (re.match(r"yes|no|ignored|1|$", cell) for cell in cells)
                found += [
                    Row(at.get(name, path), field, mark.group() if mark else "?")
                    for path, mark in zip(paths, marks, strict=False)
                    if mark is None or mark.group()
                ]
    return found


ROWS = rows()
INTEGERS = re.compile(r"(^|\.)(top_k|seed|num_predict|repeat_last_n|num_ctx)$")


def of(*marks: str) -> list[Row]:
    return [row for row in ROWS if row.mark in marks]


def good_of(row: Row) -> object:
    return 5 if INTEGERS.search(row.field) else row.good


def test_every_row_has_a_mark_and_every_table_its_rows():
    assert {row.path for row in ROWS} == set(BASE)
    assert of("?") == []
    assert len(ROWS) > 120


@pytest.mark.parametrize("row", of("yes", "1"), ids=str)
async def test_what_is_supported_is_taken(row: Row, http: httpx.AsyncClient):
    answer = await http.post(row.path, json=row.body(good_of(row)))
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("row", of("yes", "1"), ids=str)
async def test_what_is_supported_and_wrong_is_refused_by_its_name(row: Row, http: httpx.AsyncClient):
    answer = await http.post(row.path, json=row.body(WRONG.get(row.field, [{}])))
    assert answer.status_code == 400
    assert row.leaf.removesuffix("[]") in answer.text


@pytest.mark.parametrize("row", of("1"), ids=str)
async def test_more_than_one_is_refused(row: Row, http: httpx.AsyncClient):
    answer = await http.post(row.path, json=row.body(2))
    assert (answer.status_code, row.field in answer.text) == (400, True)


@pytest.mark.parametrize("row", of("no"), ids=str)
async def test_what_is_not_supported_is_refused_clearly(row: Row, http: httpx.AsyncClient):
    answer = await http.post(row.path, json=row.body(row.good))
    assert answer.status_code == 400
    assert row.leaf in answer.text or "input_audio" in answer.text


@pytest.mark.parametrize("row", of("ignored"), ids=str)
async def test_what_is_ignored_may_hold_anything(row: Row, http: httpx.AsyncClient):
    for value in (True, {"x": [1]}, None):
        answer = await http.post(row.path, json=row.body(value))
        assert answer.status_code == 200, answer.text
