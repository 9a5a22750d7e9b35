from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Generator
from contextlib import aclosing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants
from registry_process import free_port, gguf_of

from partage.errors import DigestMismatch, NotFound, PullError
from partage.models.pull import pull
from partage.models.store import Store

pytestmark = pytest.mark.live

REVISION = "c0ffee" * 6 + "c0ff"


class FakeHub:
    """The two endpoints that are used, and a second host that the files lie on, as the real one has them."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.sha256: dict[str, str] = {}
        self.seen: list[tuple[str, str, str]] = []
        """Path, Range and Authorization of each request for a file."""
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                range_, key = self.headers.get("Range", ""), self.headers.get("Authorization", "")
                if path == "/api/models/user/repo":
                    self.answer(200, json.dumps(hub.info()).encode())
                elif path.startswith(f"/user/repo/resolve/{REVISION}/"):
                    hub.seen.append((path, range_, key))
                    place = f"http://localhost:{hub.port}/files/{path.rpartition('/')[2]}?signed=a%2Fb"
                    self.answer(302, b"", Location=place)
                elif path.startswith("/files/"):
                    hub.seen.append((path, range_, key))
                    data = hub.files[path.removeprefix("/files/")]
                    first, _, last = range_.removeprefix("bytes=").partition("-")
                    part = data[int(first) : int(last) + 1]
                    self.answer(206, part, **{"Content-Range": f"bytes {first}-{last}/{len(data)}"})
                else:
                    self.answer(404, b"{}", **{"X-Error-Code": "RepoNotFound"})

            def answer(self, status: int, body: bytes, **headers: str) -> None:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port

    def add(self, name: str, data: bytes, sha256: str | None = None) -> None:
        self.files[name] = data
        self.sha256[name] = sha256 or hashlib.sha256(data).hexdigest()

    def info(self) -> dict[str, object]:
        siblings = [
            {
                "rfilename": name,
                "size": len(data),
                "lfs": {"sha256": self.sha256[name], "size": len(data), "pointerSize": 134},
            }
            for name, data in self.files.items()
        ]
        return {"id": "user/repo", "sha": REVISION, "siblings": siblings, "cardData": {"license": "mit"}}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Generator[FakeHub]:
    hub = FakeHub()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{hub.port}")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    thread = threading.Thread(target=hub.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield hub
    hub.server.shutdown()
    thread.join()
    hub.server.server_close()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


async def finish(store: Store, name: str) -> list[str]:
    async with aclosing(pull(store, name)) as steps:
        return [step.status async for step in steps]


async def test_weights_come_at_one_revision_and_the_key_stays_with_the_host_it_is_for(
    hub: FakeHub, store: Store, tmp_path: Path
):
    hub.add("README.md", b"hello")
    hub.add("m-Q8_0.gguf", b"another")
    hub.add("m-Q4_K_M.gguf", gguf_of(tmp_path / "m.gguf", 4096).read_bytes())
    statuses = await finish(store, "hf.co/user/repo")
    model = store.get("hf.co/user/repo")
    assert model.digest == f"sha256:{hub.sha256['m-Q4_K_M.gguf']}"
    assert (model.source, model.licence) == (f"hf.co/user/repo@{REVISION[:12]}/m-Q4_K_M.gguf", "mit")
    assert statuses[0] == "pulling manifest"
    assert statuses[-1] == "writing manifest"
    assert {(path.split("/")[1], key) for path, _, key in hub.seen} == {
        ("user", "Bearer hf_secret"),
        ("files", ""),
    }


async def test_what_is_not_what_the_hub_says_is_discarded(hub: FakeHub, store: Store, tmp_path: Path):
    hub.add("m-Q8_0.gguf", gguf_of(tmp_path / "m.gguf", 4096).read_bytes(), sha256="ab" * 32)
    with pytest.raises(DigestMismatch, match="discarded"):
        await finish(store, "hf.co/user/repo:Q8_0")
    assert store.list() == []


@pytest.mark.usefixtures("hub")
async def test_a_repository_that_is_not_there_is_not_found(store: Store):
    with pytest.raises(NotFound, match=r"there is no model hf\.co/user/nobody"):
        await finish(store, "hf.co/user/nobody")


async def test_without_a_connection_it_is_said_in_one_line(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(PullError, match=r"127\.0\.0\.1:\d+ cannot be reached") as caught:
        await finish(store, "hf.co/user/repo")
    assert "\n" not in caught.value.message
