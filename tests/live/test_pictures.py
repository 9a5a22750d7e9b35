"""Pictures fetched by URL, from a server on this machine that the tests let through."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
from aiohttp import web

from partage.api import pictures
from partage.api.pictures import fetch
from partage.errors import InvalidRequest

pytestmark = pytest.mark.live

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 8


@pytest.fixture
async def site() -> AsyncGenerator[str]:
    async def png(_: web.Request) -> web.Response:
        return web.Response(body=PNG, content_type="image/png")

    async def hop(request: web.Request) -> web.Response:
        left = int(request.match_info["left"])
        raise web.HTTPFound(f"/hop/{left - 1}" if left else "/a.png")

    async def away(_: web.Request) -> web.Response:
        raise web.HTTPFound("http://10.0.0.1/a.png")

    async def page(_: web.Request) -> web.Response:
        return web.Response(text="no picture")

    async def huge(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "image/png"})
        await answer.prepare(request)
        for _ in range(30):
            await answer.write(PNG + bytes(1 << 20))
        return answer

    async def missing(_: web.Request) -> web.Response:
        return web.Response(status=404)

    app = web.Application()
    app.router.add_get("/a.png", png)
    app.router.add_get("/hop/{left}", hop)
    for path, handler in {"/away": away, "/page": page, "/huge": huge, "/missing": missing}.items():
        app.router.add_get(path, handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"localhost:{runner.addresses[0][1]}"
    await runner.cleanup()


def here(address: str) -> bool:
    return address in {"127.0.0.1", "::1"}


async def test_a_picture_is_fetched_over_redirects(site: str):
    urls = [f"http://{site}/a.png", f"http://{site}/hop/2"]
    found = await fetch(urls, allowed=here)
    assert [found[url].data for url in urls] == [PNG, PNG]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/away", "not a public address"),
        ("/hop/9", "more than 3 redirects"),
        ("/page", "text/plain, not a picture"),
        ("/huge", "larger than 20 MiB"),
        ("/missing", "answered 404"),
    ],
)
async def test_what_should_not_be_fetched_is_refused_by_name(site: str, path: str, words: str):
    with pytest.raises(InvalidRequest, match=words):
        await fetch([f"http://{site}{path}"], allowed=here)


async def test_a_name_that_means_this_machine_is_not_asked(site: str):
    with pytest.raises(InvalidRequest, match="not a public address"):
        await fetch([f"http://{site}/a.png"])


async def test_a_server_that_does_not_answer_ends_the_wait(site: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pictures, "TIMEOUT_S", 0.0001)
    with pytest.raises(InvalidRequest, match="cannot be fetched"):
        await fetch([f"http://{site}/a.png"], allowed=here)
