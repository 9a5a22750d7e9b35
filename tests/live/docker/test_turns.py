"""Class and weight of a container's labels, as the order in which a hub with one slot serves."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import sys
import time
import urllib.request
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from docker_engine import IMAGE, DockerEngine, mounts

pytestmark = [pytest.mark.live, pytest.mark.timeout(180)]

CHAT_MODEL = "smollm2:135m"
CONFIG = "devices: [{host: true, memory: 2GiB}]\nhub: {slots: 1, prompt_cache: 0}\n"
CLIENT = f"""
import json, pathlib, sys, threading, time, urllib.request
hub, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
folder = pathlib.Path("/turns")
def ask(number):
    body = {{"model": "{CHAT_MODEL}", "prompt": f"{{name}} {{number}}: tell me a story", "stream": False,
            "options": {{"num_predict": 8, "temperature": 0}}}}
    request = urllib.request.Request(hub + "/api/generate", json.dumps(body).encode(), {{"content-type": "application/json"}})
    answer = json.load(urllib.request.urlopen(request, timeout=120))
    with (folder / "served").open("a") as file:
        file.write(f"{{time.time()}} {{name}} {{answer['eval_count']}}\\n")
(folder / f"{{name}}.ready").touch()
while not (folder / "go").exists():
    time.sleep(0.01)
threads = [threading.Thread(target=ask, args=(n,)) for n in range(count)]
[one.start() for one in threads]
[one.join() for one in threads]
"""


@dataclass(frozen=True)
class SingleSlot:
    """A hub in a container that serves one request at a time, and containers that call it at once."""

    engine: DockerEngine
    name: str

    @contextlib.contextmanager
    def called_by(self, folder: Path, count: int, labels: Mapping[str, str]) -> Generator[list[str]]:
        """Containers with these labels, so many requests of each at once; the order in which they are answered."""
        containers = [f"{self.name}-{name}" for name in labels]
        try:
            for name, label in labels.items():
                self._start_client(folder, name, count, label)
            yield self._order(folder, count, containers)
        finally:
            self.engine.docker("rm", "--force", *containers, check=False)

    def _start_client(self, folder: Path, name: str, count: int, label: str) -> None:
        words = ["--detach", "--name", f"{self.name}-{name}", "--network", self.name, *mounts()]
        words += ["--volume", f"{folder}:/turns", "--label", f"partage.client={name}", "--label", label]
        code = ["-c", CLIENT, f"http://{self.name}:11434", name, str(count)]
        self.engine.docker("run", *words, "--entrypoint", sys.executable, IMAGE, *code)

    def _order(self, folder: Path, count: int, containers: Sequence[str]) -> list[str]:
        def log() -> str:
            names = (self.name, *containers)
            return "\n".join(self.engine.docker("logs", name, check=False)[-2000:] for name in names)

        _wait_until(lambda: len(list(folder.glob("*.ready"))) == len(containers), log)
        time.sleep(1.5)  # the hub hears of their labels from Docker
        (folder / "go").touch()
        served = folder / "served"
        total = count * len(containers)
        _wait_until(lambda: served.exists() and len(served.read_text().splitlines()) == total, log)
        return [line.split()[1] for line in sorted(served.read_text().splitlines())]


def _wait_until(true: Callable[[], bool], what: Callable[[], str]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, what()
        time.sleep(0.1)


@pytest.fixture(scope="module")
def hub(engine: DockerEngine, model_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[SingleSlot]:
    home = shutil.copytree(model_home, tmp_path_factory.mktemp("turns") / "home")
    (home / "partage.yaml").write_text(CONFIG)
    name = f"partage{secrets.token_hex(3)}"
    words = [
        "--detach",
        "--name",
        name,
        "--network",
        name,
        "--publish",
        "127.0.0.1::11434",
        "--env",
        "PARTAGE_HOME=/data",
    ]
    words += ["--volume", f"{home}:/data", "--volume", f"{engine.socket}:/var/run/docker.sock:ro", *mounts()]
    try:
        engine.docker("network", "create", name)
        engine.docker("run", *words, IMAGE, "hub", "--host", "0.0.0.0")
        url = f"http://127.0.0.1:{engine.docker('port', name, '11434/tcp').split(':')[-1].strip()}"
        body = {
            "model": CHAT_MODEL,
            "prompt": "Hi",
            "stream": False,
            "keep_alive": "10m",
            "options": {"num_predict": 2},
        }
        data = json.dumps(body).encode()

        def is_loaded() -> bool:
            try:
                request = urllib.request.Request(f"{url}/api/generate", data, {"content-type": "application/json"})
                urllib.request.urlopen(request, timeout=60).close()
            except OSError:
                return False
            return True

        _wait_until(is_loaded, lambda: engine.docker("logs", name, check=False))
        yield SingleSlot(engine, name)
    finally:
        engine.docker("rm", "--force", name, check=False)
        engine.docker("network", "rm", name, check=False)


def test_an_interactive_container_is_served_before_a_batch_container(hub: SingleSlot, tmp_path: Path):
    labels = {"night": "partage.class=batch", "desk": "partage.class=interactive"}
    with hub.called_by(tmp_path, 8, labels) as order:
        last_of_people = max(place for place, name in enumerate(order) if name == "desk")
        # One may have had the slot before anybody else called, and batch keeps a tenth of the service.
        assert order[:last_of_people].count("night") <= 2, order


def test_a_container_of_twice_the_weight_is_served_twice_as_often(hub: SingleSlot, tmp_path: Path):
    with hub.called_by(tmp_path, 12, {"heavy": "partage.weight=2", "light": "partage.weight=1"}) as order:
        last_of_heavy = max(place for place, name in enumerate(order) if name == "heavy")
        # 12 of the one to 6 of the other while both wait.
        assert 4 <= order[:last_of_heavy].count("light") <= 8, order
