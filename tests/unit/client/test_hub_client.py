from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

import pytest

from partage.client.hub_client import HubClient
from partage.client.transport import Reply
from partage.errors import (
    CannotFit,
    EngineCrashed,
    EngineError,
    EngineTimedOut,
    InvalidRequest,
    ModelNotFound,
    NotFound,
    PartageError,
    PullError,
    QueueFull,
    QuotaExceeded,
    TooLarge,
)
from partage.work import Image, Message, ToolCall


@dataclass
class Said:
    """One answer of the fake hub. `hangs`: after its chunks it says nothing more."""

    status: int = 200
    parts: tuple[bytes, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    hangs: bool = False

    async def chunks(self) -> AsyncGenerator[bytes]:
        for part in self.parts:
            yield part
        if self.hangs:
            await asyncio.Event().wait()


class FakeHub:
    """Answers with what it was given, in order; remembers what it was asked and which connections are open."""

    def __init__(self, *answers: Said) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str, object]] = []
        self.open = 0
        self.reached = asyncio.Event()

    @asynccontextmanager
    async def exchange(self, method: str, path: str, body: bytes | None) -> AsyncGenerator[Reply]:
        self.asked.append((method, path, None if body is None else json.loads(body)))
        self.open += 1
        self.reached.set()
        try:
            yield self.answers.pop(0)
        finally:
            self.open -= 1

    async def close(self) -> None: ...


class Naps:
    def __init__(self) -> None:
        self.taken_s: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.taken_s.append(seconds)


def said(*lines: object, status: int = 200, headers: Mapping[str, str] | None = None, hangs: bool = False) -> Said:
    return Said(
        status=status,
        parts=tuple(json.dumps(line).encode() + b"\n" for line in lines),
        headers=headers or {},
        hangs=hangs,
    )


def client(hub: FakeHub, *, retry: bool = True, sleep: Naps | None = None) -> HubClient:
    return HubClient(transport=hub, retry=retry, sleep=sleep or Naps())


HELLO = [Message(role="user", content="hello")]


async def test_chat_tells_text_thoughts_tools_and_what_it_cost_in_seconds():
    hub = FakeHub(
        said(
            {
                "message": {
                    "role": "assistant",
                    "content": "hi",
                    "thinking": "hm",
                    "tool_calls": [{"function": {"name": "look", "arguments": {"at": "sky"}}}],
                },
                "done": True,
                "done_reason": "stop",
                "total_duration": 3_000_000_000,
                "load_duration": 1_000_000_000,
                "prompt_eval_count": 7,
                "prompt_eval_duration": 500_000_000,
                "eval_count": 2,
                "eval_duration": 250_000_000,
            }
        )
    )
    async with client(hub) as asked:
        answer = await asked.chat("m", HELLO, format="json", options={"seed": 1}, keep_alive="5m")
    assert (answer.text, answer.thinking, answer.finish_reason) == ("hi", "hm", "stop")
    assert answer.tool_calls == (ToolCall(id="", name="look", arguments='{"at": "sky"}'),)
    assert (answer.usage.prompt_tokens, answer.usage.output_tokens) == (7, 2)
    assert (answer.usage.prefill_s, answer.usage.decode_s, answer.load_s, answer.total_s) == (0.5, 0.25, 1.0, 3.0)
    [(method, path, body)] = hub.asked
    assert (method, path) == ("POST", "/api/chat")
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "hello"}],
        "stream": False,
        "format": "json",
        "options": {"seed": 1},
        "keep_alive": "5m",
    }


async def test_images_travel_as_base64():
    hub = FakeHub(said({"message": {"content": "a cat"}, "done": True}))
    picture = Image(data=b"\x89PNG", media_type="image/png")
    async with client(hub) as asked:
        await asked.chat("m", [Message(role="user", content="what?", images=(picture,))])
    body = hub.asked[0][2]
    assert isinstance(body, dict)
    assert base64.b64decode(body["messages"][0]["images"][0]) == b"\x89PNG"


async def test_stream_yields_pieces_however_the_bytes_were_cut():
    text = b'{"message":{"content":"a"}}\n{"message":{"content":"\xc3\xa4"}}\n{"message":{"content":""},"done":true}'
    hub = FakeHub(Said(parts=tuple(text[at : at + 3] for at in range(0, len(text), 3))))
    async with client(hub) as asked:
        pieces = [piece async for piece in asked.stream_chat("m", HELLO)]
    assert [piece.text for piece in pieces] == ["a", "ä", ""]
    assert pieces[-1].done


async def test_error_in_the_middle_of_a_stream_is_raised_after_what_came_before_it():
    hub = FakeHub(said({"message": {"content": "a"}}, {"error": "the model server ended"}))
    async with client(hub) as asked:
        pieces = asked.stream_chat("m", HELLO)
        assert (await anext(pieces)).text == "a"
        with pytest.raises(EngineError, match="the model server ended"):
            await anext(pieces)


async def test_stream_that_ends_without_its_last_line_is_no_answer():
    hub = FakeHub(said({"message": {"content": "a"}}))
    async with client(hub) as asked:
        with pytest.raises(EngineCrashed, match="broke off"):
            [piece async for piece in asked.stream_chat("m", HELLO)]


async def test_leaving_a_stream_early_closes_its_connection():
    hub = FakeHub(said({"message": {"content": "a"}}, hangs=True))
    async with client(hub) as asked, aclosing(asked.stream_chat("m", HELLO)) as pieces:
        await anext(pieces)
        assert hub.open == 1
        await pieces.aclose()
        assert hub.open == 0


async def test_cancelled_call_closes_its_connection():
    hub = FakeHub(Said(hangs=True))
    async with client(hub) as asked, asyncio.TaskGroup() as tasks:
        task = tasks.create_task(asked.chat("m", HELLO))
        await hub.reached.wait()
        assert hub.open == 1
        task.cancel()
    assert hub.open == 0


async def test_late_answer_becomes_a_timeout_that_names_the_limit():
    hub = FakeHub(Said(hangs=True))
    async with client(hub) as asked:
        with pytest.raises(EngineTimedOut, match=r"within 0\.01 s"):
            await asked.chat("m", HELLO, timeout_s=0.01)
    assert hub.open == 0


@pytest.mark.parametrize(
    ("status", "headers", "error"),
    [
        (400, {}, InvalidRequest),
        (404, {}, ModelNotFound),
        (413, {}, TooLarge),
        (429, {"Retry-After": "3"}, QuotaExceeded),
        (503, {"Retry-After": "3"}, QueueFull),
        (503, {}, EngineError),
        (507, {}, CannotFit),
        (504, {}, EngineTimedOut),
        (418, {}, InvalidRequest),
        (599, {}, EngineError),
    ],
)
async def test_status_comes_back_as_the_error_it_stands_for(
    status: int, headers: dict[str, str], error: type[PartageError]
):
    hub = FakeHub(said({"error": "because"}, status=status, headers=headers))
    async with client(hub, retry=False) as asked:
        with pytest.raises(error) as raised:
            await asked.chat("nobody", HELLO)
    assert "nobody" in raised.value.message if status == 404 else raised.value.message == "because"


async def test_404_that_is_about_no_model_is_plain_not_found():
    async with client(FakeHub(said({"error": "no such page"}, status=404))) as asked:
        with pytest.raises(NotFound, match="no such page"):
            await asked.status()


async def test_answer_that_is_no_json_is_an_error_that_shows_it():
    async with client(FakeHub(Said(parts=(b"<html>a proxy</html>",)))) as asked:
        with pytest.raises(EngineError, match="a proxy"):
            await asked.models()


async def test_refusal_is_waited_out_as_long_as_it_said():
    naps = Naps()
    hub = FakeHub(
        said({"error": "busy"}, status=503, headers={"Retry-After": "2"}),
        said({"error": "quota"}, status=429, headers={"Retry-After": "5"}),
        said({"message": {"content": "hi"}, "done": True}),
    )
    async with client(hub, sleep=naps) as asked:
        assert (await asked.chat("m", HELLO)).text == "hi"
    assert naps.taken_s == [2.0, 5.0]


async def test_refusal_that_lasts_longer_than_the_timeout_is_raised_at_once():
    naps = Naps()
    hub = FakeHub(said({"error": "busy"}, status=503, headers={"Retry-After": "20"}))
    async with client(hub, sleep=naps) as asked:
        with pytest.raises(QueueFull) as raised:
            await asked.chat("m", HELLO, timeout_s=10)
    assert raised.value.retry_after_s == 20
    assert naps.taken_s == []


async def test_refusal_for_zero_seconds_is_not_asked_for_ever():
    refusals = [said({"error": "busy"}, status=503, headers={"Retry-After": "0"}) for _ in range(100)]
    async with client(FakeHub(*refusals)) as asked:
        with pytest.raises(QueueFull):
            await asked.chat("m", HELLO, timeout_s=5)


async def test_embedding_answers_one_vector_per_input():
    hub = FakeHub(said({"embeddings": [[1, 0.5], [0, 1]]}), said({"embeddings": [[1.0]]}))
    async with client(hub) as asked:
        assert await asked.embed("e", ["a", "b"]) == [[1.0, 0.5], [0.0, 1.0]]
        with pytest.raises(EngineError, match="2 inputs with 1 vectors"):
            await asked.embed("e", ["a", "b"])
        assert await asked.embed("e", []) == []


async def test_models_that_list_no_capabilities_are_asked_for_them():
    hub = FakeHub(
        said(
            {
                "models": [
                    {"name": "a", "size": 5, "capabilities": ["embedding"], "details": {"parameter_size": "22.7M"}},
                    {"name": "b", "details": {"parameter_size": "1.7B", "families": None}},
                ]
            }
        ),
        said({"capabilities": ["completion", "vision"]}),
    )
    async with client(hub) as asked:
        a, b = await asked.models()
    assert (a.name, a.size_bytes, a.can_chat, a.parameters) == ("a", 5, False, pytest.approx(22.7e6))
    assert (b.can_chat, b.parameters) == (True, pytest.approx(1.7e9))
    assert hub.asked[1] == ("POST", "/api/show", {"model": "b"})


async def test_pull_tells_its_progress_and_fails_where_it_stops():
    hub = FakeHub(
        said({"status": "downloading", "total": 10, "completed": 4, "digest": "sha256:1"}, {"status": "success"}),
        said({"status": "downloading"}, {"error": "disk full"}),
        said({"status": "downloading"}),
    )
    async with client(hub) as asked:
        progress = [step async for step in asked.pull("m")]
        assert (progress[0].completed_bytes, progress[0].total_bytes, progress[-1].status) == (4, 10, "success")
        with pytest.raises(PullError, match="disk full"):
            [step async for step in asked.pull("m")]
        with pytest.raises(PullError, match="broke off"):
            [step async for step in asked.pull("m")]


async def test_load_and_unload_say_how_long_the_model_stays():
    hub = FakeHub(said({"done": True}), said({"done": True}))
    async with client(hub) as asked:
        await asked.load("m", keep_alive=-1)
        await asked.unload("m")
    assert [body for _, _, body in hub.asked] == [
        {"model": "m", "stream": False, "keep_alive": -1},
        {"model": "m", "stream": False, "keep_alive": 0},
    ]
