"""A hub that adopts somebody else's Ollama server: its models are listed, loaded and let go by keep_alive."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import ollama
import pytest
from aiohttp import web
from hub_process import running_hub

from partage.json_value import JsonObject

pytestmark = pytest.mark.live


class FakeOllama:
    """Behaves as Ollama does in what the hub uses of it, in a thread of its own; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[JsonObject] = []
        self.loaded: set[str] = set()
        self.size = 900
        self.url = ""
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)

    async def _tags(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer sesame"
        return web.json_response({"models": [{"name": "far:latest"}, {"name": "farther:7b"}]})

    async def _ps(self, _: web.Request) -> web.Response:
        return web.json_response(
            {"models": [{"name": name, "size": self.size, "size_vram": 700} for name in self.loaded]}
        )

    async def _generate(self, request: web.Request) -> web.Response:
        self.asked.append(body := await request.json())
        (self.loaded.discard if body["keep_alive"] == 0 else self.loaded.add)(body["model"])
        return web.json_response({"done": True})

    async def _chat(self, request: web.Request) -> web.Response:
        self.asked.append(await request.json())
        parts = ({"message": {"content": "from afar"}}, {"message": {"content": ""}, "done": True, "eval_count": 2})
        return web.Response(text="".join(f"{web.json_response(part).text}\n" for part in parts))

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.router.add_get("/api/tags", self._tags)
        app.router.add_get("/api/ps", self._ps)
        app.router.add_post("/api/generate", self._generate)
        app.router.add_post("/api/chat", self._chat)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        self._loop.run_until_complete(runner.setup())
        self._loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", 0).start())
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    @contextmanager
    def running(self) -> Generator[FakeOllama]:
        self._thread.start()
        self._ready.wait()
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()


def test_the_models_of_an_adopted_ollama_are_listed_loaded_and_let_go(model_home: Path, tmp_path: Path):
    with FakeOllama().running() as far:
        config = f"remotes: {{box: {{kind: ollama, url: '{far.url}', key: sesame}}}}"
        with (
            running_hub(tmp_path / "home", model_home, config=config) as hub,
            ollama.Client(hub.url, timeout=30) as client,
        ):
            assert {"far:latest", "farther:7b"} <= {model.model for model in client.list().models}
            assert client.chat("far", [{"role": "user", "content": "hi"}]).message.content == "from afar"
            load, chat = far.asked
            assert (load["model"], load["keep_alive"], chat["keep_alive"]) == ("far:latest", -1, -1)
            (held,) = client.ps().models
            assert (held.model, held.size, held.size_vram) == ("far:latest", 900, 700)
            assert client.generate("far", "", keep_alive=0).done_reason == "unload"
            assert far.asked[-1]["keep_alive"] == 0
            assert not far.loaded
            client.chat("farther:7b", [{"role": "user", "content": "hi"}])
            assert far.loaded == {"farther:7b"}
        assert not far.loaded


def test_what_an_adopted_model_takes_is_looked_at_again_until_its_server_lets_it_go(model_home: Path, tmp_path: Path):
    with FakeOllama().running() as far:
        config = f"remotes: {{box: {{kind: ollama, url: '{far.url}', key: sesame}}}}"
        with (
            running_hub(tmp_path / "home", model_home, config=config) as hub,
            ollama.Client(hub.url, timeout=30) as client,
        ):
            client.generate("far", "")
            far.size = 1900
            wait_until(lambda: [model.size for model in client.ps().models] == [1900])
            far.loaded.clear()
            wait_until(lambda: not client.ps().models)
            asked = len(far.asked)
            client.chat("far", [{"role": "user", "content": "hi"}])
            assert [body["keep_alive"] for body in far.asked[asked:]] == [-1, -1]
            assert far.loaded == {"far:latest"}


def wait_until(condition: Callable[[], bool], limit_s: float = 30.0) -> None:
    began_s = time.monotonic()
    while not condition():
        assert time.monotonic() - began_s < limit_s
        time.sleep(0.2)


def test_a_server_that_is_not_there_stops_nothing(model_home: Path, tmp_path: Path):
    config = "remotes: {box: {kind: ollama, url: 'http://127.0.0.1:9'}}"
    with running_hub(tmp_path / "home", model_home, config=config) as hub:
        assert httpx.get(f"{hub.url}/healthz").status_code == 200
    assert "remotes.box does not say what models it has" in (tmp_path / "home" / "hub.log").read_text()
