"""What a registry may ask of us, and what it may not: tokens, redirects, answers without an end."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import TypeAlias

import msgspec
import pytest
from aiohttp import web

from partage.errors import DigestMismatch, PullError
from partage.models.pull import pull
from partage.models.reach import Reach
from partage.models.store import Store

pytestmark = pytest.mark.live

Serve: TypeAlias = Callable[[web.Request], web.StreamResponse | None]
BLOB = b"not a gguf"
DIGEST = f"sha256:{hashlib.sha256(BLOB).hexdigest()}"
CONFIG = b"{}"
MANIFEST = msgspec.json.encode(
    {
        "schemaVersion": 2,
        "config": {"mediaType": "x", "digest": f"sha256:{hashlib.sha256(CONFIG).hexdigest()}", "size": 2},
        "layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": DIGEST, "size": len(BLOB)}],
    }
)


class Registry:
    """Serves one model that is no GGUF: a pull that gets so far has gone well."""

    def __init__(self) -> None:
        self.answers: dict[str, Serve] = {}
        """The end of a path -> what is said in place of the usual; None: the usual all the same."""
        self.seen: list[tuple[str, str]] = []
        """Path and Authorization."""
        self.address = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request.path, request.headers.get("Authorization", "")))
        for end, answer in self.answers.items():
            if request.path.endswith(end) and (said := answer(request)) is not None:
                return said
        if "/manifests/" in request.path:
            return web.Response(body=MANIFEST)
        return web.Response(body=BLOB if request.path.endswith(DIGEST) else CONFIG)


@pytest.fixture
async def registry() -> AsyncGenerator[Registry]:
    registry = Registry()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", registry.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    registry.address = f"{host}:{port}"
    yield registry
    await runner.cleanup()


async def attempt(registry: Registry, tmp_path: Path) -> None:
    async with aclosing(pull(Store(tmp_path / "home"), "some", Reach(registry=registry.address))) as steps:
        async for _ in steps:
            pass


async def test_a_token_is_fetched_where_the_registry_says_and_shown_to_nobody_else(registry: Registry, tmp_path: Path):
    port = registry.address.rpartition(":")[2]
    elsewhere = f"http://localhost:{port}"

    def ask(request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization") == "Bearer t0ken":
            return None
        challenge = f'Bearer realm="{elsewhere}/token?x=1",service="registry",scope="repository:library/some:pull"'
        return web.Response(status=401, headers={"WWW-Authenticate": challenge})

    def give(request: web.Request) -> web.Response:
        assert dict(request.query) == {"x": "1", "service": "registry", "scope": "repository:library/some:pull"}
        return web.json_response({"token": "t0ken"})

    def send_on(request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": f"{elsewhere}/storage"})

    registry.answers = {
        "/manifests/latest": ask,
        "/token": give,
        f"/blobs/{DIGEST}": send_on,
        "/storage": lambda _: web.Response(body=BLOB),
    }
    with pytest.raises(Exception, match="not a GGUF file"):
        await attempt(registry, tmp_path)
    shown = dict(registry.seen)
    assert shown[f"/v2/library/some/blobs/{DIGEST}"] == "Bearer t0ken"
    assert (shown["/storage"], shown["/token"]) == ("", "")


async def test_a_registry_that_lets_nobody_in_is_asked_once_more_and_no_oftener(registry: Registry, tmp_path: Path):
    challenge = f'Bearer realm="http://{registry.address}/token",service="x"'
    registry.answers = {
        "/manifests/latest": lambda _: web.Response(status=401, headers={"WWW-Authenticate": challenge}),
        "/token": lambda _: web.json_response({"token": "useless"}),
    }
    with pytest.raises(PullError, match="does not let us in"):
        await attempt(registry, tmp_path)
    assert len(registry.seen) == 3


@pytest.mark.parametrize("target", ["ftp://example.com/x", "file:///etc/passwd", "gopher://example.com/"])
async def test_a_redirect_away_from_http_is_refused(registry: Registry, tmp_path: Path, target: str):
    registry.answers = {"/manifests/latest": lambda _: web.Response(status=302, headers={"Location": target})}
    with pytest.raises(PullError, match="not secure; refused"):
        await attempt(registry, tmp_path)


async def test_redirects_without_an_end_are_given_up(registry: Registry, tmp_path: Path):
    registry.answers = {"": lambda request: web.Response(status=302, headers={"Location": str(request.url)})}
    with pytest.raises(PullError, match="without an end"):
        await attempt(registry, tmp_path)
    assert len(registry.seen) < 10


async def test_a_manifest_without_an_end_is_cut_off(registry: Registry, tmp_path: Path):
    registry.answers = {"/manifests/latest": lambda _: web.Response(body=b" " * (6 << 20))}
    with pytest.raises(PullError, match="where a text is expected"):
        await attempt(registry, tmp_path)


async def test_a_manifest_that_is_not_what_the_registry_says_is_refused(registry: Registry, tmp_path: Path):
    headers = {"Docker-Content-Digest": f"sha256:{'0' * 64}"}
    registry.answers = {"/manifests/latest": lambda _: web.Response(body=MANIFEST, headers=headers)}
    with pytest.raises(DigestMismatch):
        await attempt(registry, tmp_path)


@pytest.mark.parametrize("status", [500, 429, 403, 418])
async def test_a_registry_that_fails_is_quoted(registry: Registry, tmp_path: Path, status: int):
    registry.answers = {"/manifests/latest": lambda _: web.Response(status=status, text="so\nit is")}
    with pytest.raises(PullError, match=rf"status {status}"):
        await attempt(registry, tmp_path)


async def test_a_server_without_ranges_and_without_all_its_bytes_is_told(registry: Registry, tmp_path: Path):
    registry.answers = {f"/blobs/{DIGEST}": lambda _: web.Response(body=BLOB[:4])}
    with pytest.raises(PullError, match="broke off at 4 of 10 bytes"):
        await attempt(registry, tmp_path)
    registry.answers = {f"/blobs/{DIGEST}": lambda _: web.Response(body=BLOB * 2)}
    with pytest.raises(DigestMismatch, match="sends more than the 10 bytes promised"):
        await attempt(registry, tmp_path)


@pytest.mark.parametrize("challenge", ['Basic realm="x"', 'Bearer realm="Authentication required"', "Bearer", ""])
async def test_a_registry_that_wants_a_password_is_said_not_to_be_open(
    registry: Registry, tmp_path: Path, challenge: str
):
    registry.answers = {
        "/manifests/latest": lambda _: web.Response(status=401, headers={"WWW-Authenticate": challenge})
    }
    with pytest.raises(PullError, match="not open to everybody"):
        await attempt(registry, tmp_path)
