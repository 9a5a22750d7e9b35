"""Leaving, silence and early errors, in every phase of an answer and in both dialects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from partage.api.app import create_app
from partage.api.fake_hub import FakeHub
from partage.api.ports import ApiSettings
from partage.domain import Request
from partage.errors import EngineCrashed, EngineStartFailed, PartageError, PullError
from partage.hub.views import QueuePosition
from partage.models.progress import PullProgress
from partage.work import Delta, Done, Output, PromptProgress, Usage

CHAT = {"model": "chatty", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
PATHS = ["/api/chat", "/v1/chat/completions", "/v1/messages"]

PHASES: dict[str, list[Output]] = {
    "queued": [],
    "prefill": [PromptProgress(1, 9)],
    "decoding": [PromptProgress(9, 9), Delta(text="well")],
}


class Caller:
    """One HTTP request in bare ASGI, whose client can leave at any time."""

    def __init__(self, path: str, body: object, *, method: str = "POST") -> None:
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "scheme": "http",
            "headers": [(b"host", b"localhost")],
            "client": ("127.0.0.1", 5000),
            "server": ("localhost", 80),
        }
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._messages.put_nowait({"type": "http.request", "body": msgspec.json.encode(body), "more_body": False})
        self.sent: list[dict[str, Any]] = []
        self.wrote = asyncio.Event()
        self.reads = True
        """False: the socket is full, send() does not come back."""

    def leave(self) -> None:
        self._messages.put_nowait({"type": "http.disconnect"})

    async def receive(self) -> dict[str, Any]:
        return await self._messages.get()

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)
        if message.get("body"):
            self.wrote.set()
            if not self.reads:
                await asyncio.Event().wait()

    async def call(self, hub: FakeHub, settings: ApiSettings) -> None:
        await create_app(hub, settings)(self.scope, self.receive, self.send)  # pyright: ignore[reportArgumentType]

    @property
    def status(self) -> int:
        return self.sent[0]["status"]

    @property
    def chunks(self) -> list[bytes]:
        return [message["body"] for message in self.sent[1:] if message["body"]]


class Stuck:
    """Serves as far as a phase, then waits to be let go."""

    def __init__(self, phase: str) -> None:
        self._outputs = PHASES[phase]
        self.reached = asyncio.Event()
        self.go = asyncio.Event()

    async def __call__(self, request: Request) -> AsyncGenerator[Output, None]:
        for output in self._outputs:
            yield output
        self.reached.set()
        await self.go.wait()
        yield Delta(text="done")
        yield Done(finish_reason="stop", usage=Usage())


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_ends_the_work(path: str, stream: bool, phase: str, settings: ApiSettings):
    stuck = Stuck(phase)
    hub = FakeHub(stuck)
    call = Caller(path, {**CHAT, "stream": stream})
    async with asyncio.TaskGroup() as group:
        answering = group.create_task(call.call(hub, settings))
        await stuck.reached.wait()
        call.leave()
        await answering
    assert hub.outcomes == ["cancelled"]
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize("path", ["/api/embed", "/v1/embeddings"])
async def test_a_client_that_leaves_ends_the_embedding(path: str, settings: ApiSettings):
    stuck = Stuck("queued")
    hub = FakeHub(stuck)
    call = Caller(path, {"model": "embedder", "input": "hello"})
    async with asyncio.TaskGroup() as group:
        group.create_task(call.call(hub, settings))
        await stuck.reached.wait()
        call.leave()
    assert hub.outcomes == ["cancelled"]


async def test_a_client_that_left_before_the_body_came_is_not_admitted(settings: ApiSettings, hub: FakeHub):
    call = Caller("/api/chat", CHAT)
    await call.receive()
    call.leave()
    await call.call(hub, settings)
    assert (hub.requests, call.sent) == ([], [])


async def test_a_server_that_stops_ends_the_work(settings: ApiSettings):
    stuck = Stuck("decoding")
    hub = FakeHub(stuck)
    async with asyncio.TaskGroup() as group:
        answering = group.create_task(Caller("/api/chat", CHAT).call(hub, settings))
        await stuck.reached.wait()
        answering.cancel()
    assert hub.outcomes == ["cancelled"]


async def test_a_client_that_cannot_be_written_to_ends_the_work(settings: ApiSettings, hub: FakeHub):
    call = Caller("/api/chat", CHAT)
    call.reads = False
    async with asyncio.TaskGroup() as group:
        group.create_task(call.call(hub, settings))
        await call.wrote.wait()
        call.leave()
    assert hub.outcomes == ["cancelled"]


@pytest.mark.parametrize("path", PATHS)
async def test_a_client_that_stops_reading_does_not_keep_its_slot_for_ever(
    path: str, settings: ApiSettings, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("partage.api.streaming.STALLED_S", 0.0)
    call = Caller(path, {**CHAT, "stream": True})
    call.reads = False
    async with asyncio.timeout(10):
        await call.call(hub, replace(settings, silence_s=0.0))
    assert hub.outcomes == ["cancelled"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("phase", ["queued", "prefill"])
async def test_an_error_before_the_first_byte_keeps_its_status(path: str, phase: str, settings: ApiSettings):
    async def fail(request: Request) -> AsyncGenerator[Output, None]:
        for output in PHASES[phase]:
            yield output
        raise EngineStartFailed("no such file")

    call = Caller(path, {**CHAT, "stream": True})
    await call.call(FakeHub(fail), settings)
    assert call.status == 503
    assert b"no such file" in call.chunks[0]


async def crash(request: Request) -> AsyncGenerator[Output, None]:
    yield Delta(text="we")
    raise EngineCrashed("it ended")


async def defect(request: Request) -> AsyncGenerator[Output, None]:
    yield Delta(text="we")
    raise ZeroDivisionError


async def test_an_error_after_the_first_byte_is_the_last_line(settings: ApiSettings):
    call = Caller("/api/chat", CHAT)
    await call.call(FakeHub(crash), settings)
    assert call.status == 200
    assert msgspec.json.decode(call.chunks[0])["message"]["content"] == "we"
    assert call.chunks[1] == b'{"error":"it ended"}\n'
    assert call.sent[-1]["more_body"] is False


async def test_an_error_after_the_first_byte_is_the_last_event(settings: ApiSettings):
    call = Caller("/v1/chat/completions", {**CHAT, "stream": True})
    await call.call(FakeHub(crash), settings)
    problem = {"message": "it ended", "type": "api_error", "param": None, "code": None}
    assert call.chunks[1] == b"data: " + msgspec.json.encode({"error": problem}) + b"\n\n"
    assert call.sent[-1]["more_body"] is False


async def test_a_defect_of_ours_is_told_and_logged(settings: ApiSettings, caplog: pytest.LogCaptureFixture):
    call = Caller("/api/chat", CHAT)
    await call.call(FakeHub(defect), settings)
    assert call.chunks[1].startswith(b'{"error":"internal error; the log has it as ')
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    ("path", "position", "keep_alive"),
    [
        ("/api/chat", QueuePosition(3, 4.2), b" "),
        ("/v1/chat/completions", QueuePosition(3, 4.2), b": queued 3, about 4 s\n\n"),
        ("/v1/chat/completions", None, b": working\n\n"),
        ("/v1/messages", None, b'event: ping\ndata: {"type":"ping"}\n\n'),
    ],
)
@pytest.mark.parametrize("phase", PHASES)
async def test_silence_is_broken_in_the_dialects_own_way(
    path: str, position: QueuePosition | None, keep_alive: bytes, phase: str, settings: ApiSettings
):
    stuck = Stuck(phase)
    hub = FakeHub(stuck)
    hub.queue_position = position
    call = Caller(path, {**CHAT, "stream": True})
    async with asyncio.TaskGroup() as group:
        group.create_task(call.call(hub, replace(settings, silence_s=0.0)))
        while call.chunks.count(keep_alive) < 3:
            call.wrote.clear()
            await call.wrote.wait()
        stuck.go.set()
    assert call.status == 200
    assert b"done" in b"".join(call.chunks)
    assert hub.outcomes == ["served"]


async def test_an_answer_that_is_not_streamed_is_never_begun_early(settings: ApiSettings):
    stuck = Stuck("queued")
    call = Caller("/api/chat", {**CHAT, "stream": False})
    async with asyncio.TaskGroup() as group:
        group.create_task(call.call(FakeHub(stuck), replace(settings, silence_s=0.0)))
        await stuck.reached.wait()
        assert call.sent == []
        stuck.go.set()
    assert call.status == 200


async def test_an_error_that_comes_after_the_keep_alives_is_written_into_the_stream(settings: ApiSettings):
    failure = asyncio.Event()

    async def fail_late(request: Request) -> AsyncGenerator[Output, None]:
        await failure.wait()
        raise PartageError("too late")
        yield

    call = Caller("/api/chat", CHAT)
    async with asyncio.TaskGroup() as group:
        group.create_task(call.call(FakeHub(fail_late), replace(settings, silence_s=0.0)))
        await call.wrote.wait()
        failure.set()
    assert call.status == 200
    assert call.chunks[-1] == b'{"error":"too late"}\n'


async def test_a_silent_pull_is_kept_alive_and_can_still_fail(settings: ApiSettings, hub: FakeHub):
    go = asyncio.Event()

    async def pull(name: str, *, insecure: bool = False) -> AsyncGenerator[PullProgress, None]:
        yield PullProgress(status="verifying")
        await go.wait()
        raise PullError("the registry hung up")

    hub.pull = pull
    call = Caller("/api/pull", {"model": "new"})
    async with asyncio.TaskGroup() as group:
        group.create_task(call.call(hub, replace(settings, silence_s=0.001)))
        while b" " not in call.chunks:
            call.wrote.clear()
            await call.wrote.wait()
        go.set()
    lines = b"".join(call.chunks).splitlines()
    assert [msgspec.json.decode(line) for line in lines] == [{"status": "verifying"}, {"error": "the registry hung up"}]
