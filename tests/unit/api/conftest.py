"""The API over a fake hub, through httpx; test_streaming.py speaks bare ASGI, where timing and leaving matter."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import httpx
import pytest

from partage.api.app import create_app
from partage.api.fake_hub import FakeHub
from partage.api.ports import ApiSettings


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub()


@pytest.fixture
def settings() -> ApiSettings:
    return ApiSettings(version="1.2.3", max_body_bytes=10_000, silence_s=3600.0)


@pytest.fixture
async def http(hub: FakeHub, settings: ApiSettings) -> AsyncGenerator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(hub, settings), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client
