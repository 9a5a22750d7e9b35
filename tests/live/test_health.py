from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hub_process import running_hub

from partage.client.hub_client import HubClient
from partage.deploy.canary import check_hub
from partage.errors import ModelNotFound, ServiceUnreachable

pytestmark = pytest.mark.live

CHAT_MODEL, EMBEDDING_MODEL = "smollm2:135m", "all-minilm:22m"


def check(url: str, model: str | None = None, timeout_s: float = 20) -> str:
    return asyncio.run(check_hub(url, None, timeout_s, model, datetime.now(UTC)))


async def stays_until(url: str, model: str, keep_alive: str) -> tuple[str, str]:
    """Before and after a canary: when the model leaves."""
    async with HubClient(url) as hub:
        await hub.load(model, keep_alive=keep_alive)
        before = (await hub.running())[0].expires_at
        said = await check_hub(url, None, 20, None, datetime.now(UTC))
        assert f"{model} works" in said
        return before, (await hub.running())[0].expires_at


def test_the_canary_loads_nothing_and_lengthens_no_stay(tmp_path: Path, model_home: Path):
    with running_hub(tmp_path / "home", model_home) as hub:
        assert "no model is loaded" in check(hub.url)
        assert hub.status()["residents"] == []
        before, after = asyncio.run(stays_until(hub.url, CHAT_MODEL, "100s"))
        moved_s = (datetime.fromisoformat(after) - datetime.fromisoformat(before)).total_seconds()
        assert abs(moved_s) < 10
        assert f"{EMBEDDING_MODEL} works" in check(hub.url, EMBEDDING_MODEL)
        with pytest.raises(ModelNotFound):
            check(hub.url, "no-such-model")
        address = hub.url
        assert hub.stop() == 0
    with pytest.raises(ServiceUnreachable):
        check(address)


def test_the_command_fails_where_nothing_answers():
    command = [sys.executable, "-m", "partage", "health", "hub", "--url", "http://127.0.0.1:9", "--timeout", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "nothing answers at http://127.0.0.1:9" in done.stderr
