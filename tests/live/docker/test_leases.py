"""Containers that hold leases, on a real engine: paused until granted, paused beside people, given back at their end."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path

import httpx
import pytest
from docker_engine import IMAGE, DockerEngine, mounts
from eventually import eventually
from hub_process import MIB, HubProcess, running_hub

pytestmark = [pytest.mark.live, pytest.mark.timeout(180)]

CHAT = "smollm2:135m"
BUDGET = 700 * MIB


@pytest.fixture
def hub(engine: DockerEngine, model_home: Path, tmp_path: Path) -> Generator[HubProcess]:
    config = f"""
devices: [{{host: true, memory: {BUDGET}}}]
hub: {{docker: "{engine.socket}"}}
clients: {{person: {{class: interactive, key: person}}}}
"""
    with running_hub(tmp_path / "hub", model_home, config=config) as running:
        yield running


@pytest.fixture
def start(engine: DockerEngine) -> Generator[Callable[..., None]]:
    names: list[str] = []

    def started(name: str, memory: str, *command: str) -> None:
        names.append(name)
        labels = ["--label", f"partage.lease={memory}", "--label", "partage.class=batch"]
        words = ["--detach", "--network", "none", *mounts(), *labels, "--name", name, "--entrypoint", command[0]]
        engine.docker("run", *words, IMAGE, *command[1:])

    yield started
    for name in names:
        engine.docker("unpause", name, check=False)
        engine.docker("rm", "--force", name, check=False)


def state(hub: HubProcess, name: str) -> object:
    return {str(one["name"]): one["state"] for one in hub.status()["leases"]}.get(name)


def test_a_container_that_must_wait_is_paused_until_its_lease_is_granted(
    engine: DockerEngine, hub: HubProcess, start: Callable[..., None]
):
    start("first", "500MiB", "/usr/bin/sleep", "600")
    eventually(lambda: state(hub, "first") == "held")
    start("second", "500MiB", "/usr/bin/sleep", "600")
    eventually(lambda: state(hub, "second") == "waiting")
    eventually(lambda: engine.inspect("second", "{{.State.Paused}}") == "true")
    assert engine.inspect("first", "{{.State.Paused}}") == "false"
    engine.docker("rm", "--force", "first")
    eventually(lambda: state(hub, "second") == "held", within_s=10)
    eventually(lambda: engine.inspect("second", "{{.State.Paused}}") == "false")
    engine.docker("kill", "second")
    eventually(lambda: not hub.status()["leases"])
    eventually(lambda: hub.status()["devices"][0]["free_bytes"] == BUDGET)


def test_a_batch_container_is_paused_while_a_person_is_served_and_goes_on_afterwards(
    engine: DockerEngine, hub: HubProcess, start: Callable[..., None]
):
    key = {"Authorization": "Bearer person"}
    httpx.post(f"{hub.url}/api/generate", json={"model": CHAT}, headers=key, timeout=60).raise_for_status()
    start("batch", "100MiB", "/usr/bin/tail", "-f", "/dev/null")
    eventually(lambda: state(hub, "batch") == "held")
    body = {"model": CHAT, "prompt": "Count:", "raw": True, "options": {"num_predict": 150, "seed": 1}}
    paused: list[bool] = []
    with httpx.stream("POST", f"{hub.url}/api/generate", json=body, headers=key, timeout=60) as answer:
        for number, _ in enumerate(answer.iter_lines()):
            if number % 25 == 10:
                paused.append(engine.inspect("batch", "{{.State.Paused}}") == "true")
    assert any(paused)
    eventually(lambda: engine.inspect("batch", "{{.State.Paused}}") == "false")
    assert state(hub, "batch") == "held"


def test_a_hub_that_ends_leaves_no_container_paused(engine: DockerEngine, hub: HubProcess, start: Callable[..., None]):
    start("first", "500MiB", "/usr/bin/sleep", "600")
    eventually(lambda: state(hub, "first") == "held")
    start("second", "500MiB", "/usr/bin/sleep", "600")
    eventually(lambda: engine.inspect("second", "{{.State.Paused}}") == "true")
    assert hub.stop() == 0
    eventually(lambda: engine.inspect("second", "{{.State.Paused}}") == "false")
