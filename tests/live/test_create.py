from __future__ import annotations

from contextlib import aclosing
from pathlib import Path

import pytest
from registry_process import gguf_of

from partage.errors import PullError
from partage.models import anatomy as facts
from partage.models.create import Recipe
from partage.models.shelves import Shelves
from partage.models.store import Store
from partage.models.workshop import Workshop

pytestmark = pytest.mark.live

WEIGHTS_BYTES = 1 << 16


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(Shelves(Store(tmp_path / "home")))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return gguf_of(tmp_path / "weights.gguf", WEIGHTS_BYTES, width=64)


async def made(shop: Workshop, recipe: Recipe) -> list[str]:
    async with aclosing(shop.create("new", recipe)) as steps:
        return [step.status async for step in steps]


def program(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A llama-quantize that does as told, first on the PATH."""
    path = folder / "llama-quantize"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


async def test_weights_are_quantised_in_a_child_and_the_rest_is_cleaned_up(shop: Workshop, weights: Path):
    statuses = await made(shop, Recipe(paths=(weights,), quantise="q8_0"))
    assert "quantising F32 to Q8_0" in statuses
    model = shop.shelves.get("new")
    assert facts.quantisation(model.anatomy) == "Q8_0"
    manifest = shop.shelves.store.manifest("new")
    assert manifest.about.made_from is not None
    assert manifest.about.made_from.by == "F32 quantised to Q8_0"
    assert list(shop.shelves.store.partial.iterdir()) == []


async def test_llama_cpps_own_program_is_used_where_it_is(
    shop: Workshop, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    program(tmp_path, 'echo "$3" > "$0.type"; cp "$1" "$2"', monkeypatch)
    await made(shop, Recipe(paths=(weights,), quantise="q4_K_M"))
    assert (tmp_path / "llama-quantize.type").read_text() == "Q4_K_M\n"
    assert shop.shelves.get("new").size_bytes >= WEIGHTS_BYTES


async def test_what_the_program_says_when_it_fails_is_told(
    shop: Workshop, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    program(tmp_path, "echo no such luck >&2; exit 1", monkeypatch)
    with pytest.raises(PullError, match=r"quantising F32 to Q4_K_M ended with status 1: no such luck"):
        await made(shop, Recipe(paths=(weights,), quantise="q4_K_M"))
    assert shop.shelves.list() == []
