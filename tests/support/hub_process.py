"""A hub as its users have it: `python -m partage hub` in a process of its own, on a free port, with real engines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

MIB = 1 << 20


@dataclass
class HubProcess:
    url: str
    process: subprocess.Popen[bytes]

    def status(self) -> dict[str, list[dict[str, object]]]:
        return httpx.get(f"{self.url}/admin/status").json()

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)


@contextmanager
def running_hub(home: Path, model_home: Path, *, config: str = "", port: int = 0) -> Generator[HubProcess]:
    """On a free port, unless one is given. `home` becomes a PARTAGE_HOME of its own with the models of `model_home` in it."""
    home.mkdir(exist_ok=True)
    for folder in ("blobs", "models"):
        if not (home / folder).exists():
            (home / folder).symlink_to(model_home / folder)
    (home / "partage.yaml").write_text(config)
    with (home / "hub.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "partage", "hub", "--port", str(port), "--announce"],
            env={**os.environ, "PARTAGE_HOME": str(home)},
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, (home / "hub.log").read_text()
        yield HubProcess(json.loads(line)["ready"], process)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        assert process.stdout is not None
        process.stdout.close()


@contextmanager
def client_of_small_hub(home: Path, model_home: Path, model: str) -> Generator[httpx.Client]:
    """Of a hub on which the model has one slot of 512 tokens: what is too long is soon so."""
    config = f"models: {{'{model}': {{context: 512, slots: 1}}}}"
    with (
        running_hub(home, model_home, config=config) as hub,
        httpx.Client(base_url=hub.url, timeout=120) as client,
    ):
        yield client
