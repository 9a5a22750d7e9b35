from __future__ import annotations

import json
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest

from partage.domain import LaunchSettings
from partage.engine.llamacpp import LlamaCpp
from partage.engine.spec import LaunchSpec
from partage.models.pull import pull
from partage.models.store import Store
from partage.work import EmbedWork, Vectors

pytestmark = pytest.mark.live

# Written by Reference in bench/embedding_fidelity.py: the original's forward pass in numpy, float32.
REFERENCE = json.loads((Path(__file__).parent / "all_minilm_reference.json").read_text())


async def cosines(path: str, run_dir: Path) -> list[float]:
    """Of every reference sentence, between the original's vector and the engine's."""
    settings = LaunchSettings(
        context_tokens=512, slots=1, threads=1, batch_tokens=512, micro_batch_tokens=512, embedding=True
    )
    engine = LlamaCpp(LaunchSpec(id="fidelity", model_path=path, settings=settings, run_dir=str(run_dir)))
    await engine.start()
    try:
        texts = tuple(case["text"] for case in REFERENCE)
        async with aclosing(engine.stream(EmbedWork(inputs=texts))) as outputs:
            (answer,) = [output async for output in outputs if isinstance(output, Vectors)]
    finally:
        await engine.stop(2)
    wanted = np.array([case["vector"] for case in REFERENCE])
    got = np.array(answer.vectors)
    assert wanted.shape == got.shape
    products = (wanted * got).sum(axis=1)
    return list(products / np.linalg.norm(wanted, axis=1) / np.linalg.norm(got, axis=1))


async def test_all_minilm_as_q8_0_stays_within_0_998_of_the_original(model_home: Path, tmp_path: Path):
    assert min(await cosines(Store(model_home).get("all-minilm:22m").path, tmp_path)) > 0.998


async def test_all_minilm_as_f16_stays_within_0_9999_of_the_original(copied_home: Path, tmp_path: Path):
    store = Store(copied_home)
    async with aclosing(pull(store, "all-minilm:22m-l6-v2-fp16")) as steps:
        async for _ in steps:
            pass
    assert min(await cosines(store.get("all-minilm:22m-l6-v2-fp16").path, tmp_path)) > 0.9999
