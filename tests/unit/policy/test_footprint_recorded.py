"""Estimates against what llama.cpp said when it loaded such models: recorded_footprints.json.

Made anew with `python -m bench.footprint_check --record tests/unit/policy/recorded_footprints.json`.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from anatomies import tensor

from partage.domain import Anatomy, LaunchSettings
from partage.models.anatomy import anatomy
from partage.models.gguf_header import Header
from partage.policy.footprint import MIB, estimate

RECORDED: dict[str, Any] = json.loads((Path(__file__).parent / "recorded_footprints.json").read_text())
SETTINGS = LaunchSettings(context_tokens=8192, slots=2, threads=1)


def model(facts: dict[str, Any]) -> Anatomy:
    tensors = [tensor(name, type_, *shape) for name, (type_, *shape) in facts["tensors"].items()]
    for group in facts["layers"]:
        for layer in group["at"]:
            tensors += [
                tensor(f"blk.{layer}.{name}", type_, *shape) for name, (type_, *shape) in group["tensors"].items()
            ]
    return anatomy(
        Header(metadata=facts["metadata"], tensors=tuple(tensors), table_position=0, positions=(), alignment=32)
    )


@pytest.mark.parametrize("kind", RECORDED)
def test_estimate_is_what_llama_cpp_said(kind: str) -> None:
    facts = RECORDED[kind]
    one = model(facts)
    pooled = f"{one.architecture}.pooling_type" in one.metadata
    mine = estimate(one, replace(SETTINGS, embedding=pooled))
    said: dict[str, float] = facts["reported_mib"]
    buffers = mine.weights_bytes + mine.repack_bytes + mine.kv_bytes + mine.compute_bytes + mine.output_bytes
    assert (mine.weights_bytes + mine.repack_bytes) / MIB == pytest.approx(said["weights"], rel=0.01)
    assert mine.kv_bytes / MIB == pytest.approx(said.get("KV", 0.0), rel=0.01, abs=0.01)
    assert mine.compute_bytes / MIB == pytest.approx(said["compute"], rel=0.1)
    assert buffers / MIB >= 0.98 * sum(said.values())
