"""A real Docker engine of the test's own: its own socket and folders, no network, and an image made of this machine's files."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

PROGRAMS = ("sleep", "tail", "true")
START_S = 30.0


@dataclass(frozen=True)
class DockerEngine:
    socket: Path

    def docker(self, *words: str, data: bytes | None = None) -> str:
        ran = subprocess.run(
            ["docker", "--host", f"unix://{self.socket}", *words],
            input=data,
            capture_output=True,
            check=False,
            timeout=60,
        )
        if ran.returncode != 0:
            raise RuntimeError(f"docker {' '.join(words)}: {ran.stderr.decode()}")
        return ran.stdout.decode().strip()


@contextmanager
def docker_engine() -> Generator[DockerEngine]:
    """Skips the test where no engine can run."""
    if shutil.which("dockerd") is None or shutil.which("docker") is None:
        pytest.skip("no dockerd on the PATH: apt install docker.io")
    with tempfile.TemporaryDirectory(prefix="partage-docker-", ignore_cleanup_errors=True) as name:
        home = Path(name)
        socket = home / "docker.sock"
        with (home / "log").open("wb") as log:
            daemon = subprocess.Popen(
                [
                    "dockerd",
                    *(
                        "--host",
                        f"unix://{socket}",
                        "--data-root",
                        str(home / "data"),
                        "--exec-root",
                        str(home / "exec"),
                    ),
                    *("--pidfile", str(home / "pid"), "--bridge", "none", "--iptables=false", "--ip6tables=false"),
                    *("--storage-driver", "vfs"),
                ],
                stdout=log,
                stderr=log,
            )
        engine = DockerEngine(socket)
        try:
            _wait_ready(engine, daemon, home / "log")
            engine.docker("import", "-", "local:latest", data=_root_file_system())
            _must_run(engine)
            yield engine
        finally:
            daemon.terminate()
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def _wait_ready(engine: DockerEngine, daemon: subprocess.Popen[bytes], log: Path) -> None:
    until_s = time.monotonic() + START_S
    while daemon.poll() is None and time.monotonic() < until_s:
        try:
            engine.docker("version")
        except RuntimeError:
            time.sleep(0.2)
        else:
            return
    pytest.skip(f"no Docker engine can run here: {log.read_text(errors='replace').strip()[-200:]}")


def _must_run(engine: DockerEngine) -> None:
    try:
        engine.docker("run", "--rm", "--network", "none", "local:latest", "/bin/true")
    except RuntimeError as error:
        pytest.skip(f"no container can run here: {str(error)[-200:]}")


def _root_file_system() -> bytes:
    """A tar of a few programs and the libraries they need."""
    files: dict[str, Path] = {}
    for program in PROGRAMS:
        path = Path(shutil.which(program) or f"/bin/{program}").resolve()
        files[f"bin/{program}"] = path
        listed = subprocess.run(["ldd", str(path)], capture_output=True, text=True, check=False, timeout=30).stdout
        files |= {library.lstrip("/"): Path(library).resolve() for library in re.findall(r"(/\S+) \(0x", listed)}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, path in files.items():
            archive.add(path, name)
    return out.getvalue()
