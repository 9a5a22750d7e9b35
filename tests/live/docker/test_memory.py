from __future__ import annotations

import json
import secrets
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import pytest
from docker_engine import IMAGE, DockerEngine, mounts

pytestmark = [pytest.mark.live, pytest.mark.timeout(180)]

CHAT_MODEL = "smollm2:135m"
LIMIT = "200m"
CONFIG = "devices: [{host: true, memory: 2GiB}]\nhub: {slots: 4, load_timeout: 60s}\n"
"""The hub is told that it has more than its container is given: what the kernel does then must be told to clients."""


@dataclass(frozen=True)
class SmallHub:
    engine: DockerEngine
    name: str
    url: str

    def generate(self, context: int) -> tuple[int, str]:
        body = {"model": CHAT_MODEL, "prompt": "Hi", "stream": False, "options": {"num_ctx": context, "num_predict": 2}}
        request = urllib.request.Request(
            f"{self.url}/api/generate", json.dumps(body).encode(), {"content-type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


@pytest.fixture
def hub(engine: DockerEngine, model_home: Path, tmp_path: Path) -> Generator[SmallHub]:
    home = shutil.copytree(model_home, tmp_path / "home")
    (home / "partage.yaml").write_text(CONFIG)
    name = f"partage{secrets.token_hex(3)}"
    words = ["--detach", "--name", name, "--memory", LIMIT, "--memory-swap", LIMIT, "--publish", "127.0.0.1::11434"]
    words += ["--volume", f"{home}:/data", "--env", "PARTAGE_HOME=/data", *mounts()]
    try:
        engine.docker("run", *words, IMAGE, "hub", "--host", "0.0.0.0")
        port = engine.docker("port", name, "11434/tcp").split(":")[-1].strip()
        found = SmallHub(engine, name, f"http://127.0.0.1:{port}")
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{found.url}/healthz", timeout=5).close()
                break
            except OSError:
                assert time.monotonic() < deadline, engine.docker("logs", name, check=False)
                time.sleep(0.3)
        yield found
    finally:
        engine.docker("rm", "--force", name, check=False)


@pytest.mark.flaky(
    reruns=3, reason="until the memory of what it has killed is free, the kernel sees nobody but the hub to kill"
)
def test_an_engine_that_the_kernel_kills_is_reported_and_the_hub_serves_on(hub: SmallHub):
    status, answer = hub.generate(8192)
    assert status in (502, 503, 507), answer
    assert "error" in json.loads(answer)
    assert hub.engine.inspect(hub.name, "{{.State.Running}}") == "true"
    assert urllib.request.urlopen(f"{hub.url}/healthz", timeout=5).status == 200
