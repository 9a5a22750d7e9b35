"""Programs that say what a llama-server says; what is run is a shell script."""

from __future__ import annotations

from pathlib import Path

import pytest

from partage.engine import builds
from partage.engine.builds import OWN_SERVER, Build, choose, options, server_path
from partage.errors import ConfigError

CUDA = Build(path="/cuda", devices=("CUDA0: NVIDIA H200",))
CPU = Build(path="/cpu", devices=())
BUILT_IN_CUDA = Build(devices=("CUDA0: NVIDIA H200",))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (Build(devices=()), "built-in llama.cpp can only use the CPU"),
        (Build(path="/l", devices=("Vulkan0: H200",)), "lists only Vulkan0"),
        (Build(path="/l", complaint="libcudart.so.13: cannot open"), "/l does not run: libcudart"),
        (Build(path="/l", devices=("CUDA0: H200",), unknown_options=("--fit",)), "does not know --fit"),
    ],
)
def test_what_keeps_a_build_from_the_gpu_is_said(build: Build, words: str):
    assert build.trouble is not None
    assert words in build.trouble


def test_a_build_that_lists_a_cuda_device_has_no_trouble():
    assert CUDA.trouble is None


@pytest.mark.parametrize(
    ("server", "built_in", "chosen"),
    [
        (CUDA, BUILT_IN_CUDA, CUDA),
        (CPU, BUILT_IN_CUDA, BUILT_IN_CUDA),
        (CPU, Build(devices=()), CPU),
        (None, BUILT_IN_CUDA, BUILT_IN_CUDA),
        (Build(path="/torn", complaint="libcudart.so.13"), Build(devices=()), Build(devices=())),
        (Build(path="/torn", complaint="x"), Build(complaint="no xllamacpp"), Build(path="/torn", complaint="x")),
    ],
)
def test_on_a_machine_with_a_gpu_the_build_that_can_use_it_serves(
    server: Build | None, built_in: Build, chosen: Build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    def path_of(_launcher: str, _home: Path) -> str | None:
        return server.path if server is not None else None

    def ask(path: str | None) -> Build | None:
        return built_in if path is None else server

    monkeypatch.setattr(builds, "server_path", path_of)
    monkeypatch.setattr(builds, "ask", ask)
    assert choose("auto", tmp_path, has_gpu=True) == chosen


def test_without_a_gpu_nobody_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def ask(path: str | None) -> Build:
        pytest.fail(f"{path} was asked")

    monkeypatch.setattr(builds, "ask", ask)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert choose("auto", tmp_path, has_gpu=False) == Build()


def test_the_setting_may_be_a_path_and_one_that_is_not_there_is_named(tmp_path: Path):
    server = tmp_path / "my-server"
    server.write_text("#!/bin/sh\n")
    server.chmod(0o755)
    assert server_path(str(server), tmp_path) == str(server)
    with pytest.raises(ConfigError, match="no program /nowhere/llama-server"):
        server_path("/nowhere/llama-server", tmp_path)


def test_the_server_that_was_built_here_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert server_path("auto", tmp_path) is None
    own = tmp_path / OWN_SERVER
    own.parent.mkdir()
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    assert server_path("auto", tmp_path) == str(own)


def test_every_option_a_server_is_started_with_is_asked_for():
    assert {"--model", "--mmproj", "--embeddings", "--tensor-split", "--no-repack", "--chat-template"} <= set(options())
