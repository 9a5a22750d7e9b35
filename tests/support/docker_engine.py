"""Runs a Docker daemon for tests, and makes an image of this machine's own file system."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Generator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMAGE = "partage-test:root"
START_S = 30.0


@dataclass(frozen=True)
class DockerEngine:
    """A daemon that runs containers, and its two command lines."""

    environment: dict[str, str]

    @property
    def socket(self) -> str:
        """The path of the daemon's socket on this machine."""
        return self.environment.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")

    def docker(self, *words: str, timeout_s: float = 60, check: bool = True) -> str:
        return self._run("docker", *words, timeout_s=timeout_s, check=check)

    def compose(self, *words: str, timeout_s: float = 180, check: bool = True) -> str:
        program = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
        return self._run(*program, *words, timeout_s=timeout_s, check=check)

    def inspect(self, container: str, template: str) -> str:
        return self.docker("inspect", "--format", template, container).strip()

    def _run(self, *command: str, timeout_s: float, check: bool) -> str:
        done = subprocess.run(
            command, env=self.environment, timeout=timeout_s, capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr


@contextlib.contextmanager
def running_engine() -> Generator[DockerEngine]:
    """The daemon that runs here, else one of our own in a temporary directory; skips the test where neither can be."""
    if shutil.which("docker") is None:
        pytest.skip("there is no docker here (Debian: docker.io, docker-compose)")
    running = DockerEngine(dict(os.environ))
    if "Server Version" in running.docker("info", check=False):
        with _with_image(running):
            yield running
        return
    with _own_daemon() as own, _with_image(own):
        yield own


@contextlib.contextmanager
def _own_daemon() -> Generator[DockerEngine]:
    if os.getuid() != 0 or shutil.which("dockerd") is None:
        pytest.skip("no Docker daemon runs here, and only root with dockerd can start one")
    # Short: the path of a unix socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="dk", dir="/tmp", ignore_cleanup_errors=True) as folder:
        socket, log = f"unix://{folder}/s", Path(folder, "log")
        words = ["--data-root", f"{folder}/d", "--exec-root", f"{folder}/e", "--pidfile", f"{folder}/p", "-H", socket]
        with (
            log.open("wb") as output,
            subprocess.Popen(
                ["dockerd", *words, "--storage-driver", "vfs"], stdout=output, stderr=output, start_new_session=True
            ) as daemon,
        ):
            try:
                own = DockerEngine({**os.environ, "DOCKER_HOST": socket})
                deadline = time.monotonic() + START_S
                while "Server Version" not in own.docker("info", check=False):
                    if daemon.poll() is not None or time.monotonic() > deadline:
                        last = log.read_text(errors="replace").strip().splitlines()[-1:]
                        pytest.skip(f"dockerd does not start here: {''.join(last)[-300:]}")
                    time.sleep(0.3)
                yield own
            finally:
                daemon.terminate()
                try:
                    daemon.wait(30)
                except subprocess.TimeoutExpired:
                    daemon.kill()


@contextlib.contextmanager
def _with_image(engine: DockerEngine) -> Generator[None]:
    """An image of empty directories: the system, Python and this checkout are mounted into it (`system_mounts`)."""
    archive = BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name in ("usr", "lib", "lib64", "bin", "sbin", "etc", "proc", "sys", "dev", "tmp", "data", "run"):
            member = tarfile.TarInfo(name)
            member.type, member.mode = tarfile.DIRTYPE, 0o1777 if name in ("tmp", "data") else 0o755
            tar.addfile(member)
    program = f'["{sys.executable}", "-m", "partage"]'
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    # This checkout, wherever the environment was installed from.
    settings = (f"ENTRYPOINT {program}", f"ENV PATH={path}", f"ENV PYTHONPATH={ROOT / 'src'}")
    changes = [word for setting in settings for word in ("--change", setting)]
    with tempfile.NamedTemporaryFile(suffix=".tar") as file:
        file.write(archive.getvalue())
        file.flush()
        engine.docker("import", *changes, file.name, IMAGE)
    try:
        # A daemon can be there and yet unable to run anything (no cgroups, no namespaces).
        said = engine.docker("run", "--rm", *mounts(), "--entrypoint", "/usr/bin/true", IMAGE, check=False)
        if said.strip():
            pytest.skip(f"the daemon runs no containers here: {said.strip()[-300:]}")
        yield
    finally:
        engine.docker("image", "rm", "--force", IMAGE, check=False)


def system_mounts() -> list[str]:
    """Read-only: what Python, this environment and this checkout need."""
    places = {"/usr", "/lib", "/lib64", "/bin", sys.prefix, sys.base_prefix, str(ROOT)}
    return [f"{place}:{place}:ro" for place in sorted(places) if Path(place).exists()]


def mounts() -> list[str]:
    return [word for mount in system_mounts() for word in ("--volume", mount)]
