from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from partage.config import Config
from partage.serve import services
from partage.serve.services import run_documents, run_rag

RUN = [run_documents, run_rag]


@pytest.fixture
def applications(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would be served; nothing listens."""
    served: list[Any] = []

    def bind(host: str, port: int, what: str) -> socket.socket | None:
        return None

    async def serve(app: object, listener: object, *, announce: bool) -> None:
        served.append(app)

    monkeypatch.setattr(services, "bind", bind)
    monkeypatch.setattr(services, "serve", serve)
    return served


@pytest.mark.parametrize("run", RUN)
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "localhost:8101"}, 200),
        ({"host": "rebound.example.com"}, 403),
        ({"host": "localhost:8101", "origin": "https://evil.example.com"}, 403),
        ({"host": "localhost:8101", "origin": "http://localhost:3000"}, 200),
        ({"host": "localhost:8101", "origin": "http://localhost:8101"}, 200),
    ],
)
async def test_a_page_in_a_browser_gets_nothing_from_the_services(
    run: Callable[[Config], Awaitable[None]],
    headers: dict[str, str],
    status: int,
    tmp_path: Path,
    applications: list[Any],
):
    await run(Config(home=tmp_path))
    transport = httpx.ASGITransport(applications[0])
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert (await client.get("/openapi.json", headers=headers)).status_code == status
