from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import httpx
import psutil
import pytest
from eventually import eventually
from hub_process import HubProcess, running_hub

pytestmark = pytest.mark.live

CHAT, EMBED = "smollm2:135m", "all-minilm:22m"


def load(hub: HubProcess, model: str) -> int:
    """The pid of its engine."""
    answer = httpx.post(f"{hub.url}/api/generate", json={"model": model}, timeout=60)
    assert answer.status_code == 200, answer.text
    (pid,) = [one["pid"] for one in hub.status()["residents"] if one["model"] == model]
    assert isinstance(pid, int)
    return pid


def spare(hub: HubProcess, *engines: int) -> int:
    """The pid of the one child that is no engine."""
    pids: list[int] = []
    deadline_s = time.monotonic() + 20
    while len(pids) != 1:
        assert time.monotonic() < deadline_s, pids
        time.sleep(0.1)
        pids = [child.pid for child in hub.children() if child.pid not in engines]
    return pids[0]


def test_loads_take_the_worker_that_waits_and_a_dead_one_costs_nothing_but_time(model_home: Path, tmp_path: Path):
    with running_hub(tmp_path / "hub", model_home) as hub:
        waiting = spare(hub)
        assert load(hub, CHAT) == waiting
        dead = spare(hub, waiting)
        os.kill(dead, signal.SIGKILL)
        eventually(lambda: not psutil.pid_exists(dead))
        embedder = load(hub, EMBED)
        assert embedder not in {waiting, dead}
        assert {child.pid for child in hub.children()} == {waiting, embedder}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_worker_that_waits_ends_with_the_hub(model_home: Path, tmp_path: Path, number: signal.Signals):
    with running_hub(tmp_path / "hub", model_home) as hub:
        waiting = spare(hub)
        hub.process.send_signal(number)
        hub.process.wait(timeout=20)
        eventually(lambda: not psutil.pid_exists(waiting))


def test_no_worker_waits_where_none_is_wanted(model_home: Path, tmp_path: Path):
    with running_hub(tmp_path / "hub", model_home, config="hub: {standby: false}") as hub:
        engine = load(hub, CHAT)
        time.sleep(0.5)
        assert [child.pid for child in hub.children()] == [engine]
