from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from partage.cli.main import build
from partage.config import load_config
from partage.deploy.compose_file import project_of
from partage.deploy.lint import Selection, lint
from partage.deploy.machine import described_machine
from partage.deploy.source import Source
from partage.deploy.stack import (
    DEFAULT_MODELS,
    Stack,
    best_plan,
    choose_profiles,
    differences,
    make_stack,
    write_stack,
)
from partage.deploy.wanted import resolve
from partage.deploy.yaml_tree import read_yaml, scalars_of
from partage.errors import InvalidRequest
from partage.models.store import Store

STACKS = {
    "cpu": "none",
    "low-vram": "1x6GiB",
    "single-gpu": "1x12GiB",
    "multi-gpu": "2x24GiB",
    "single-gpu mps": "1x24GiB",
    "with-ollama": "none",
    "cpu observability": "none",
    "multi-gpu mps observability": "2x24GiB",
}
SHIPPED = ("config/alerts.yml", "config/grafana/dashboards/partage.json")
"""Copies of what watch/ ships: written, not kept in the example."""
EXAMPLE = Path(__file__).parents[3] / "examples" / "rma"


def made(words: str, tmp_path: Path, models: Sequence[str] = DEFAULT_MODELS) -> Stack:
    devices = described_machine(STACKS[words])
    return make_stack(choose_profiles(words.split(), devices), devices, resolve(models, Store(tmp_path)))


@pytest.mark.parametrize("words", STACKS)
def test_every_profile_passes_our_own_lint_with_every_rule(words: str, tmp_path: Path):
    write_stack(made(words, tmp_path), tmp_path / "stack")
    report = lint([tmp_path / "stack"], Selection(select=("ALL",)))
    assert report.findings == []
    assert report.files == 2


@pytest.mark.parametrize("words", STACKS)
def test_the_same_machine_gives_the_same_bytes(words: str, tmp_path: Path):
    assert made(words, tmp_path).files == made(words, tmp_path).files


@pytest.mark.parametrize("words", STACKS)
def test_only_the_hub_and_mps_see_a_gpu_and_nothing_leaves_loopback(words: str, tmp_path: Path):
    project = project_of(read_yaml(Source("compose.yaml", made(words, tmp_path).files["compose.yaml"])), {})
    assert project is not None
    with_gpu = {name for name, service in project.services.items() if service.has_gpu}
    gpu = not {"cpu", "with-ollama"} & set(words.split())
    assert with_gpu == ({"hub"} if gpu else set()) | ({"mps", "gpu-job"} if "mps" in words else set())
    for service in project.services.values():
        assert all(port.text.startswith("127.0.0.1:") for port in scalars_of(service.get("ports")))
        assert service.text(service.get("read_only")) == "true" or service.name == "gpu-job"
        if service.name in ("hub", "documents", "rag", "mps"):
            assert service.get("healthcheck") is not None


@pytest.mark.parametrize("words", STACKS)
def test_the_hub_reads_the_configuration_that_is_written(words: str, tmp_path: Path):
    stack = made(words, tmp_path)
    write_stack(stack, tmp_path)
    for name in ("hub", "documents", "rag", "dashboard"):
        file = tmp_path / "config" / f"{name}.yaml"
        file.write_text(file.read_text().replace("/run/secrets", str(tmp_path / "secrets")))
        config = load_config(file, {"PARTAGE_HOME": str(tmp_path)})
        assert all(client.key for client in config.clients.values())
    assert load_config(tmp_path / "config" / "hub.yaml", {}).hub.require_key


def test_secrets_are_made_once_and_only_the_owner_reaches_them(tmp_path: Path):
    stack = made("cpu", tmp_path)
    write_stack(stack, tmp_path)
    key = (tmp_path / "secrets" / "chat_key").read_text()
    assert len(key) > 20
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    write_stack(stack, tmp_path)
    assert (tmp_path / "secrets" / "chat_key").read_text() == key
    assert not any(key.strip() in text for text in stack.files.values())


def test_the_docker_socket_is_there_only_when_asked_for(tmp_path: Path):
    devices = described_machine("none")
    models = resolve(DEFAULT_MODELS, Store(tmp_path))
    assert "docker.sock" not in "".join(make_stack(("cpu",), devices, models).files.values())
    asked = make_stack(("cpu",), devices, models, docker_gid=123)
    assert "/var/run/docker.sock:ro" in asked.files["compose.yaml"]
    assert "DOCKER_GID=123" in asked.files[".env"]


def test_check_tells_what_was_changed_by_hand(tmp_path: Path):
    stack = made("cpu", tmp_path)
    write_stack(stack, tmp_path)
    assert differences(stack, tmp_path) == []
    file = tmp_path / "compose.yaml"
    file.write_text(file.read_text().replace("127.0.0.1:${PARTAGE_PORT", "0.0.0.0:${PARTAGE_PORT"))
    assert any(line.startswith("-") and "0.0.0.0" in line for line in differences(stack, tmp_path))


def test_low_vram_names_what_fits_by_the_estimator(tmp_path: Path):
    text = made("low-vram", tmp_path).files["config/hub.yaml"]
    assert "they take turns" in text
    assert re.search(r"llava:7b \(q4_0\) on GPU 0: [\d.]+ GiB = weights", text)


def test_multi_gpu_says_which_model_goes_where(tmp_path: Path):
    plan = best_plan(resolve(("llama3.3:70b", "llama3.2"), Store(tmp_path)), described_machine("3x24GiB"))
    assert plan.as_wished
    text = made("multi-gpu", tmp_path, ("llama3.2", "llava:13b")).files["config/hub.yaml"]
    assert "on GPU" in text
    assert re.search(
        r"\n  llama3\.2: \{gpu: 1\} +# most was left there: [\d.]+ GiB, against [\d.]+ GiB on GPU 0\n", text
    )
    assert re.search(r"\n  llava:13b: \{gpu: 0\}", text)


def test_a_model_with_a_gpu_in_the_configuration_stays_on_it(tmp_path: Path):
    devices = described_machine("2x24GiB")
    models = resolve(("llama3.2", "llava:13b"), Store(tmp_path))
    stack = make_stack(("multi-gpu",), devices, models, pinned={"llava:13b": ("gpu1",), "llama3.2:latest": ("gpu1",)})
    assert [row.placement.shares[0][0] for row in stack.plan.rows] == ["gpu1", "gpu1"]
    assert "llava:13b: {gpu: 1}               # the configuration says so" in stack.files["config/hub.yaml"]


@pytest.mark.parametrize(
    ("words", "gpus", "chosen"),
    [
        ("", "none", "cpu"),
        ("", "1x6GiB", "low-vram"),
        ("observability", "1x24GiB", "single-gpu observability"),
        ("", "2x8GiB", "multi-gpu"),
    ],
)
def test_the_profile_follows_the_machine(words: str, gpus: str, chosen: str):
    assert choose_profiles(words.split(), described_machine(gpus)) == tuple(chosen.split())


@pytest.mark.parametrize(
    ("words", "gpus"), [("cpu low-vram", "1x6GiB"), ("single-gpu", "none"), ("multi-gpu", "1x8GiB"), ("gpu", "none")]
)
def test_what_cannot_be_is_refused(words: str, gpus: str):
    with pytest.raises(InvalidRequest):
        choose_profiles(words.split(), described_machine(gpus))


def test_the_command_writes_checks_and_does_not_overwrite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PARTAGE_HOME", str(tmp_path / "home"))
    words = ["compose", "--gpus", "1x12GiB", "-o", str(tmp_path / "out")]
    run = CliRunner().invoke
    assert run(build("compose"), words).exit_code == 0
    assert run(build("compose"), [*words, "--check"]).exit_code == 0
    assert run(build("compose"), ["compose", "cpu", "-o", str(tmp_path / "out"), "--check"]).exit_code == 1
    assert run(build("compose"), ["compose", "cpu", "-o", str(tmp_path / "out")]).exit_code == 1
    assert run(build("compose"), ["compose", "gpu"]).exit_code == 2


def test_the_example_is_what_the_command_writes(tmp_path: Path):
    devices = described_machine("1x12GiB")
    profiles = choose_profiles(["single-gpu", "observability"], devices)
    stack = make_stack(profiles, devices, resolve(DEFAULT_MODELS, Store(tmp_path)))
    stack = Stack({name: text for name, text in stack.files.items() if name not in SHIPPED}, (), stack.plan)
    changed = [line for line in differences(stack, EXAMPLE) if line[:1] in "+-" and line[1:5] != "#   "]
    assert [line for line in changed if not line.startswith(("+++", "---"))] == []  # the estimator's figures may move
