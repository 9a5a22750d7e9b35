"""Debian's docker-registry on a free port of this machine, and a tap before it that counts, holds up and cuts."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import gguf
import httpx
import msgspec
import numpy as np
import pytest

PROGRAM = "docker-registry"
CONFIG = """
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {root}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""
OLLAMA = "application/vnd.ollama.image"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running_registry(folder: Path) -> Generator[str]:
    """Its address, "127.0.0.1:PORT"; skips where the program is not installed."""
    if shutil.which(PROGRAM) is None:
        pytest.skip(f"{PROGRAM} is not installed (apt-get install {PROGRAM})")
    address = f"127.0.0.1:{(port := free_port())}"
    config = folder / "registry.yml"
    config.write_text(CONFIG.format(root=folder / "registry", port=port))
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen([PROGRAM, "serve", str(config)], stdout=log, stderr=log)
    try:
        for _ in range(100):
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"http://{address}/v2/").status_code == 200:
                    break
            time.sleep(0.1)
        else:
            pytest.fail((folder / "registry.log").read_text())
        yield address
    finally:
        process.terminate()
        process.wait(timeout=20)


def gguf_of(path: Path, weights_bytes: int, *, seed: int = 0, width: int = 4, template: str = "") -> Path:
    """A tiny model's header before so many bytes of one tensor."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_embedding_length(width)
    writer.add_head_count(1)
    writer.add_context_length(128)
    if template:
        writer.add_chat_template(template)
    writer.add_tensor_info(
        "token_embd.weight", (weights_bytes // 4 // width, width), np.dtype(np.float32), weights_bytes
    )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    data = np.random.default_rng(seed).bytes(weights_bytes)
    with path.open("ab") as file:
        file.write(bytes(-path.stat().st_size % 32) + data)
    return path


def push_blob(address: str, repository: str, data: bytes) -> str:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    place = httpx.post(f"http://{address}/v2/{repository}/blobs/uploads/").headers["location"]
    httpx.put(httpx.URL(place).copy_merge_params({"digest": digest}), content=data, timeout=60).raise_for_status()
    return digest


def push_model(address: str, name: str, layers: Sequence[tuple[str, bytes]], **changes: object) -> dict[str, object]:
    """Put a model there as Ollama would; `layers` are (kind, content), `changes` go into the manifest."""
    repository, tag = name.split(":")
    config = msgspec.json.encode({"model_format": "gguf"})

    def entry(kind: str, data: bytes) -> dict[str, object]:
        return {"mediaType": kind, "digest": push_blob(address, repository, data), "size": len(data)}

    manifest: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": entry("application/vnd.docker.container.image.v1+json", config),
        "layers": [entry(f"{OLLAMA}.{kind}", data) for kind, data in layers],
        **changes,
    }
    put_manifest(address, repository, tag, manifest)
    return manifest


def put_manifest(address: str, repository: str, tag: str, manifest: Mapping[str, object]) -> None:
    headers = {"Content-Type": "application/vnd.docker.distribution.manifest.v2+json"}
    url = f"http://{address}/v2/{repository}/manifests/{tag}"
    httpx.put(url, content=msgspec.json.encode(manifest), headers=headers).raise_for_status()


class Tap:
    """Passes connections on to the registry, and what comes back as its fields say."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.passed_bytes = 0
        self.hold_at_bytes: int | None = None
        """No more than this passes until `go_on` is set."""
        self.go_on = threading.Event()
        self.cut_after_bytes: int | None = None
        """Every connection is cut after so many bytes of answers."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        self.go_on.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for one in self._open:
            one.close()

    def _accept(self) -> None:
        host, port = self.upstream.split(":")
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection((host, int(port)))
            self._open += [client, server]
            for source, target, answers in ((client, server, False), (server, client, True)):
                thread = threading.Thread(target=self._copy, args=(source, target, answers))
                self._threads.append(thread)
                thread.start()

    def _copy(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(64 << 10):
                if answers and self.hold_at_bytes is not None and self.passed_bytes >= self.hold_at_bytes:
                    self.go_on.wait(30)
                target.sendall(data)
                passed += len(data)
                if answers:
                    self.passed_bytes += len(data)
                    if self.cut_after_bytes is not None and passed > self.cut_after_bytes:
                        break
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@contextmanager
def tapped(upstream: str) -> Generator[Tap]:
    tap = Tap(upstream)
    try:
        yield tap
    finally:
        tap.close()


def environment(**values: str) -> dict[str, str]:
    return {**os.environ, **values}
