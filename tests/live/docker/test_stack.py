from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from docker_engine import IMAGE, DockerEngine, mounts, system_mounts

from partage.deploy.machine import described_machine
from partage.deploy.stack import DEFAULT_MODELS, choose_profiles, make_stack, write_stack
from partage.deploy.wanted import resolve
from partage.json_value import JsonObject
from partage.models.store import Store

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]

CHAT_MODEL = "smollm2:135m"
SERVICES = ("hub", "documents", "rag")
BATCH_ADDRESS = 50
"""Last byte of the address by which the hub knows the batch container."""


@dataclass(frozen=True)
class RunningStack:
    engine: DockerEngine
    folder: Path
    project: str
    subnet: str
    ports: dict[str, int]

    def container(self, service: str) -> str:
        return f"{self.project}_{service}_1"

    def key(self, name: str) -> str:
        return (self.folder / "secrets" / f"{name}_key").read_text().strip()

    def ask(self, path: str, body: JsonObject | None = None, *, key: str = "chat", timeout_s: float = 60) -> JsonObject:
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {self.key(key)}"} if key else {})
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"http://127.0.0.1:{self.ports['PORT']}{path}", data, headers)
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return json.loads(answer.read())

    def say(self, *, timeout_s: float = 60) -> str:
        body: JsonObject = {
            "model": CHAT_MODEL,
            "stream": False,
            "options": {"num_predict": 4},
            "messages": [{"role": "user", "content": "Say one word."}],
        }
        return str(self.ask("/api/chat", body, timeout_s=timeout_s)["done_reason"])

    def wait_healthy(self, service: str, limit_s: float = 90) -> None:
        deadline = time.monotonic() + limit_s
        state = ""
        while (state := self.engine.inspect(self.container(service), "{{.State.Health.Status}}")) != "healthy":
            assert time.monotonic() < deadline, f"{service} is {state}: {self.log(service)}"
            time.sleep(0.5)

    def log(self, service: str) -> str:
        return self.engine.docker("logs", "--tail", "40", self.container(service), check=False)


@pytest.fixture(scope="module")
def stack(engine: DockerEngine, model_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[RunningStack]:
    """What `partage compose cpu` writes, with the image of this machine, on a network of its own."""
    folder = tmp_path_factory.mktemp("stack")
    devices = described_machine("none", host_bytes=2 << 30, cores=2)
    models = resolve(DEFAULT_MODELS, Store(folder))
    made = make_stack(choose_profiles(["cpu"], devices), devices, models, docker_gid=os.getgid())
    write_stack(made, folder)
    ports = _free_ports("PORT", "DOCUMENTS_PORT", "RAG_PORT", "DASHBOARD_PORT")
    settings = [
        f"PARTAGE_IMAGE={IMAGE}",
        f"DOCKER_GID={os.getgid()}",
        *(f"PARTAGE_{name}={port}" for name, port in ports.items()),
    ]
    (folder / ".env").write_text("\n".join(settings) + "\n")
    subnet = f"10.{secrets.randbelow(100) + 100}.{secrets.randbelow(250)}"
    shutil.copytree(model_home, folder / "models")
    (folder / "test.yaml").write_text(_override(folder, subnet, engine.socket))
    configuration = folder / "config" / "hub.yaml"
    configuration.write_text(
        configuration.read_text().replace("require_key: true", "require_key: false")
        + f"  batch-job: {{class: batch, weight: 0.5, address: {subnet}.{BATCH_ADDRESS}}}\n"
    )
    project = f"partage{secrets.token_hex(3)}"
    files = [
        "--project-directory",
        str(folder),
        "-p",
        project,
        "-f",
        str(folder / "compose.yaml"),
        "-f",
        str(folder / "test.yaml"),
    ]
    try:
        engine.compose(*files, "up", "-d", *SERVICES)
        running = RunningStack(engine, folder, project, subnet, ports)
        for service in SERVICES:
            running.wait_healthy(service)
        yield running
    finally:
        engine.compose(*files, "down", "--volumes", "--timeout", "5", check=False)


def _override(folder: Path, subnet: str, docker_socket: str) -> str:
    """The image is empty: the system is mounted. Checks are quicker than in production."""
    lines = ["services:"]
    for service in SERVICES:
        volumes = system_mounts()
        if service == "hub":
            volumes += [f"{folder}/models:/data", f"{docker_socket}:/var/run/docker.sock:ro"]
        lines += [f"  {service}:", "    healthcheck: {interval: 2s, start_period: 90s}"]
        lines += ["    volumes:", *(f"      - {volume}" for volume in volumes)]
    return "\n".join([*lines, "networks:", "  default:", f"    ipam: {{config: [{{subnet: {subnet}.0/24}}]}}"]) + "\n"


def test_the_models_are_there_for_a_client_with_a_key(stack: RunningStack):
    models = stack.ask("/api/tags")["models"]
    assert CHAT_MODEL in json.dumps(models)


def test_containers_are_known_by_key_by_address_and_by_label_with_their_class(stack: RunningStack):
    assert stack.say() in ("stop", "length")
    assert _in_container(stack, f"{stack.subnet}.{BATCH_ADDRESS}").startswith("200")
    labels = ["partage.client=night-shift", "partage.class=batch", "partage.weight=0.25"]
    assert _in_container(stack, f"{stack.subnet}.{BATCH_ADDRESS + 1}", labels).startswith("200")
    clients = {str(one["name"]): one for one in _clients(stack)}
    assert clients["chat"]["class"] == "interactive"
    assert clients["batch-job"]["class"] == "batch"
    assert clients["batch-job"]["weight"] == 0.5
    assert clients["night-shift"]["class"] == "batch"
    assert clients["night-shift"]["weight"] == 0.25


def test_the_canary_asks_the_model_that_is_loaded(stack: RunningStack):
    stack.say()
    said = stack.engine.docker("exec", stack.container("hub"), "partage", "health", "hub")
    assert f"{CHAT_MODEL} works" in said


def test_the_container_can_write_nothing_but_its_data_and_has_no_privileges(stack: RunningStack):
    status = stack.engine.docker("exec", stack.container("hub"), "/bin/cat", "/proc/1/status")
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    said = stack.engine.docker("exec", stack.container("hub"), "/usr/bin/touch", "/etc/x", check=False)
    assert "Read-only file system" in said
    assert stack.key("admin") not in stack.engine.inspect(stack.container("hub"), "{{.Config.Env}}")


def test_the_services_find_the_hub_with_their_own_keys(stack: RunningStack):
    page = "Return 4711: one cracked lid, refunded on 3 May 2026."
    body = json.dumps({"name": "note.txt", "text": page}).encode()
    url = f"http://127.0.0.1:{stack.ports['RAG_PORT']}/documents"
    with urllib.request.urlopen(
        urllib.request.Request(url, body, {"content-type": "application/json"}), timeout=90
    ) as answer:
        assert answer.status == 201
    assert "rag" in {str(one["name"]) for one in _clients(stack)}


def test_a_hub_that_is_killed_comes_back_and_its_clients_carry_on(stack: RunningStack):
    stack.say()
    before = stack.engine.inspect(stack.container("hub"), "{{.State.StartedAt}}")
    os.kill(int(stack.engine.inspect(stack.container("hub"), "{{.State.Pid}}")), signal.SIGKILL)
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(urllib.error.URLError, OSError):
            assert stack.say(timeout_s=30) in ("stop", "length")
            break
        assert time.monotonic() < deadline, stack.log("hub")
        time.sleep(0.5)
    assert stack.engine.inspect(stack.container("hub"), "{{.State.StartedAt}}") != before
    stack.wait_healthy("hub")
    assert stack.engine.inspect(stack.container("documents"), "{{.State.Status}}") == "running"


def test_a_container_that_takes_more_than_its_memory_is_killed_and_reported(stack: RunningStack):
    name = f"{stack.project}_greedy"
    code = "held = [bytearray(8 << 20) for _ in range(64)]"
    words = ["--memory", "96m", "--memory-swap", "96m", "--network", f"{stack.project}_default", *mounts()]
    try:
        stack.engine.docker("run", "--name", name, *words, "--entrypoint", _python(), IMAGE, "-c", code, check=False)
        assert stack.engine.inspect(name, "{{.State.OOMKilled}}") == "true"
        deadline = time.monotonic() + 15
        while not _is_reported_killed(stack, name):
            assert time.monotonic() < deadline, stack.ask("/admin/machine", key="admin")["containers"]
            time.sleep(0.5)
        assert stack.say() in ("stop", "length")
    finally:
        stack.engine.docker("rm", "--force", name, check=False)


def _in_container(stack: RunningStack, address: str, labels: Sequence[str] = ()) -> str:
    """A request from a container at that address, without any key; it waits until Docker has told the hub of it."""
    code = (
        "import json, time, urllib.request as u; time.sleep(2);"
        f"b = json.dumps({{'model': '{CHAT_MODEL}', 'prompt': 'Hi', 'stream': False, "
        "'options': {'num_predict': 2}}).encode();"
        "r = u.Request('http://hub:11434/api/generate', b, {'content-type': 'application/json'});"
        "print(u.urlopen(r, timeout=60).status)"
    )
    words = ["--network", f"{stack.project}_default", "--ip", address, *mounts(), "--entrypoint", _python()]
    words += [word for label in labels for word in ("--label", label)]
    return stack.engine.docker("run", "--rm", *words, IMAGE, "-c", code, timeout_s=120)


def _is_reported_killed(stack: RunningStack, name: str) -> bool:
    containers = stack.ask("/admin/machine", key="admin")["containers"]
    assert isinstance(containers, list)
    return any(one["name"] == name and one["oom_killed"] for one in containers if isinstance(one, dict))


def _clients(stack: RunningStack) -> list[JsonObject]:
    clients = stack.ask("/admin/status", key="admin")["clients"]
    assert isinstance(clients, list)
    return [one for one in clients if isinstance(one, dict)]


def _python() -> str:
    return sys.executable


def _free_ports(*names: str) -> dict[str, int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in names]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return {name: one.getsockname()[1] for name, one in zip(names, sockets, strict=True)}
