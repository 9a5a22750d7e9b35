from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from partage.cli.main import build
from partage.deploy.figures import BITS_PER_WEIGHT, FIGURES, anatomy_of, find_figure
from partage.deploy.machine import described_machine, gpu_sizes
from partage.deploy.plan import Terms, as_json, footprint_of, instead, most_slots, plan
from partage.deploy.wanted import Wanted, resolve
from partage.errors import InvalidRequest, ModelNotFound
from partage.models.store import Store
from partage.policy.footprint import estimate

GIB = 1 << 30


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def wanted(store: Store, *names: str) -> list[Wanted]:
    return resolve(names, store)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_has_the_bytes_of_the_published_file(name: str):
    figure = FIGURES[name]
    assert anatomy_of(figure).weights_bytes == pytest.approx(figure.file_bytes, rel=0.01)
    stated = figure.file_bytes * 8 / figure.parameters
    small = figure.parameters < 1.2e9  # their large vocabularies are stored in more bits than the layers
    expected = pytest.approx(BITS_PER_WEIGHT[figure.quantisation], rel=0.45 if small else 0.15)
    assert stated == expected, "shape and size disagree"


@pytest.mark.parametrize(
    ("name", "quantisation"),
    [
        ("llama3.2", "q4_K_M"),
        ("llama3.2:latest", "q4_K_M"),
        ("llama3.2:1b", "q8_0"),
        ("llama3.2:3b-instruct-q8_0", "q8_0"),
        ("nomic-embed-text", "fp16"),
    ],
)
def test_names_are_read_as_the_library_writes_them(name: str, quantisation: str):
    found = find_figure(name)
    assert found is not None
    assert found[1] == quantisation


def test_weights_that_the_cpu_rearranges_are_shown_as_weights(store: Store):
    row = plan(wanted(store, "llama3.2"), described_machine("none"), Terms()).rows[0]
    assert footprint_of(row).weights_bytes >= row.wanted.anatomy.weights_bytes
    assert footprint_of(row).total_bytes == row.placement.total_bytes


def test_the_plan_is_the_estimators_arithmetic(store: Store):
    models = wanted(store, "llama3.2", "nomic-embed-text")
    made = plan(models, described_machine("1x24GiB"), Terms())
    for row in made.rows:
        (device, share) = row.placement.shares[0]
        assert device == "gpu0"
        assert share == estimate(row.wanted.anatomy, row.placement.settings, row.wanted.projector, "cuda")
        assert footprint_of(row) == share
    assert made.used_bytes("gpu0") == sum(row.placement.total_bytes for row in made.rows)


def test_what_fits_alone_need_not_fit_together(store: Store):
    machine = described_machine("1x8GiB", host_bytes=2 * GIB)
    models = wanted(store, "llava:7b", "llama3.2")
    assert plan(models[:1], machine, Terms(slots=1)).as_wished
    together = plan(models, machine, Terms(slots=1))
    assert not together.as_wished
    assert any("by itself" in words for words in instead(together))


def test_the_peak_never_passes_a_budget(store: Store):
    models = wanted(store, "llama3.2", "llava:13b", "qwen2.5:7b", "nomic-embed-text", "gemma3:4b")
    for gpus in ("none", "1x4GiB", "1x8GiB", "8GiB+24GiB", "4x12GiB"):
        made = plan(models, described_machine(gpus), Terms())
        for device in made.devices:
            assert made.used_bytes(device.id) <= device.budget_bytes


def test_what_would_fit_instead_does(store: Store):
    machine = described_machine("1x8GiB", host_bytes=4 * GIB)
    made = plan(wanted(store, "llava:13b"), machine, Terms())
    assert not made.as_wished
    assert "llava:7b instead of llava:13b" in " ".join(instead(made)) or "q" in " ".join(instead(made))
    assert instead(plan(wanted(store, "llama3.2"), machine, Terms())) == []


def test_one_slot_more_than_the_most_does_not_fit(store: Store):
    machine = described_machine("1x8GiB")
    made = plan(wanted(store, "llama3.2"), machine, Terms(slots=1))
    most = most_slots(made, made.rows[0])
    settings = replace(made.rows[0].placement.settings, slots=most)
    assert estimate(made.rows[0].wanted.anatomy, settings, None, "cuda").total_bytes <= machine[0].budget_bytes
    more = replace(settings, slots=most + 1)
    assert estimate(made.rows[0].wanted.anatomy, more, None, "cuda").total_bytes > machine[0].budget_bytes


def test_a_compose_file_names_its_models(store: Store, tmp_path: Path):
    file = tmp_path / "compose.yml"
    file.write_text(
        "services:\n  app:\n    image: app\n    environment:\n      CHAT_MODEL: llama3.2:3b\n      MODELS_DIR: /models\n"
        '  pull:\n    image: ollama/ollama\n    entrypoint: ["sh", "-c", "ollama pull nomic-embed-text"]\n'
    )
    assert [model.name for model in resolve([str(file)], store)] == ["llama3.2:3b", "nomic-embed-text"]


def test_an_unknown_name_and_an_unknown_machine_are_refused(store: Store, tmp_path: Path):
    with pytest.raises(ModelNotFound):
        resolve(["no-such-model:1b"], store)
    file = tmp_path / "compose.yml"
    file.write_text("services: {app: {image: app}}")
    with pytest.raises(InvalidRequest, match="no model is named there"):
        resolve([str(file)], store)
    for gpus in ("1xlarge", "0x8GiB", "x"):
        with pytest.raises(InvalidRequest):
            described_machine(gpus)


def test_the_command_prints_the_same_numbers_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PARTAGE_HOME", str(tmp_path))
    result = CliRunner().invoke(build("plan"), ["plan", "llama3.2", "--gpus", "2x24GiB", "--json"])
    assert result.exit_code == 0, result.output
    answer = json.loads(result.output)
    expected = as_json(plan(resolve(["llama3.2"], Store(tmp_path)), described_machine("2x24GiB"), Terms()))
    assert answer == json.loads(json.dumps(expected))
    table = CliRunner().invoke(build("plan"), ["plan", "llama3.3:70b", "--gpus", "1x8GiB"])
    assert table.exit_code == 1
    assert "do not fit" in table.output


def test_gpus_are_described_with_units():
    assert gpu_sizes("2x24GiB + 8GiB") == [24 * GIB, 24 * GIB, 8 * GIB]
    assert gpu_sizes("none") == []
    with pytest.raises(InvalidRequest, match="24 bytes; give its memory a unit, as in 24GiB"):
        gpu_sizes("2x24")
