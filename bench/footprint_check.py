"""The footprint estimator against what llama.cpp itself logs: every kind of model it knows, many settings, no weights.

python -m bench.footprint_check [KIND ...] [--slots 2] [--context 8192] [--batch 256] [--type Q4_0] [--kv q8_0] [--no-flash]
python -m bench footprint_check       all kinds with a table of the worst errors
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bench.architectures import KINDS, Kind
from bench.empty_model import Shapes, shapes_of, write
from partage.domain import Anatomy, LaunchSettings
from partage.engine.launch import parameters
from partage.engine.spec import LaunchSpec
from partage.json_value import JsonObject, JsonValue
from partage.models.anatomy import anatomy
from partage.models.gguf_header import LongArray, read_header
from partage.policy.footprint import estimate
from partage.policy.layers import layer_of

CHILD = """
import json, os, sys, xllamacpp
from operator import attrgetter
words = xllamacpp.CommonParams()
for path, value in json.loads(sys.argv[1]).items():
    owner, _, name = path.rpartition(".")
    setattr(attrgetter(owner)(words) if owner else words, name, value)
server = xllamacpp.Server(words)
os.write(1, b"loaded")
os._exit(0)
"""
RECORDED = (
    "llama", "mixtral", "gemma3", "phi2", "gpt-oss", "cohere2", "qwen2moe", "qwen3moe", "deepseek3", "jamba",
    "granitehybrid", "nemotron_h", "lfm2", "qwen3next", "mamba2", "rwkv7", "modern-bert",
)  # fmt: skip
"""For tests/unit/policy/test_footprint_recorded.py."""
PARTS = ("weights", "KV", "compute", "output")
_PART = {"model": "weights", "KV": "KV", "RS": "KV", "compute": "compute", "output": "output"}
_SMALL_VOCABULARY = 509
"""While the engine is asked for shapes: a number that no other extent has."""
_LOGGED = re.compile(r"(model|KV|RS|output|compute) buffer size = +([\d.]+) MiB")


@dataclass(frozen=True, slots=True)
class Row:
    kind: str
    estimated: dict[str, float]
    reported: dict[str, float]

    def error(self, part: str) -> float:
        mine, real = self.estimated.get(part, 0.0), self.reported.get(part, 0.0)
        return mine / real - 1 if real else float(mine > 0.005)

    @property
    def total(self) -> tuple[float, float]:
        return sum(self.estimated.values()), sum(self.reported.values())


class Kinds:
    """Files of the asked-for kinds; shapes are asked of the engine once and kept beside."""

    def __init__(self, folder: Path, known: Path | None = None) -> None:
        self._folder = folder
        self._known = known
        self._shapes: dict[str, Shapes] = json.loads(known.read_text()) if known and known.exists() else {}

    def write(self, name: str, type_: str = "F16") -> Path:
        kind = KINDS[name]
        if name not in self._shapes:
            small = {**kind.keys, "vocab_size": _SMALL_VOCABULARY}
            self._shapes[name] = shapes_of(kind.architecture, small, kind.optional)
            if self._known:
                self._known.write_text(json.dumps(self._shapes))
        path = self._folder / "model.gguf"
        write(path, kind.architecture, kind.keys, _with_vocabulary(kind, self._shapes[name]), type_)
        return path


def _with_vocabulary(kind: Kind, shapes: Shapes) -> Shapes:
    words = int(str(kind.keys["vocab_size"]))
    return {
        name: [words if extent == _SMALL_VOCABULARY else extent for extent in shape] for name, shape in shapes.items()
    }


def compare(name: str, path: Path, settings: LaunchSettings) -> Row:
    header: Anatomy = anatomy(read_header(path))
    mine = estimate(header, settings)
    estimated = {
        "weights": mine.weights_bytes + mine.repack_bytes,
        "KV": mine.kv_bytes,
        "compute": mine.compute_bytes,
        "output": mine.output_bytes,
    }
    return Row(
        name,
        {part: size / 2**20 for part, size in estimated.items()},
        logged(path, settings, repacked=mine.repack_bytes > 0),
    )


def logged(path: Path, settings: LaunchSettings, *, repacked: bool = False) -> dict[str, float]:
    """MiB by part, as llama.cpp says while it loads."""
    run_dir = path.parent
    (run_dir / "check.sock").unlink(missing_ok=True)
    spec = LaunchSpec(
        id="check", model_path=str(path), settings=settings, run_dir=str(run_dir), map_weights=not repacked
    )
    words = parameters(spec, str(run_dir / "check.sock"), "key")
    child = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(words)], capture_output=True, text=True, timeout=120,
        env=os.environ | {"GGML_NO_BACKTRACE": "1"}, check=False,
    )  # fmt: skip
    found: dict[str, float] = {}
    for match in _LOGGED.finditer(child.stdout + child.stderr):
        found[_PART[match[1]]] = found.get(_PART[match[1]], 0.0) + float(match[2])
    if not child.stdout.endswith("loaded"):
        raise RuntimeError((child.stdout + child.stderr)[-800:])
    return found


def recorded(path: Path, row: Row) -> JsonObject:
    """What a test needs to estimate the same model without its file; equal layers are said once."""
    header = read_header(path)
    rest: JsonObject = {}
    layers: dict[int, JsonObject] = {}
    for tensor in header.tensors:
        layer = layer_of(tensor.name)
        facts: list[JsonValue] = [tensor.type, *tensor.shape]
        if layer is None:
            rest[tensor.name] = facts
        else:
            layers.setdefault(layer, {})[tensor.name.split(".", 2)[2]] = facts
    groups: list[JsonValue] = []
    for layer, tensors in layers.items():
        for group in groups:
            if isinstance(group, dict) and group["tensors"] == tensors and isinstance(at := group["at"], list):
                at.append(layer)
                break
        else:
            groups.append({"at": [layer], "tensors": tensors})
    kept: JsonObject = {key: value for key, value in header.metadata.items() if not isinstance(value, LongArray)}
    reported: JsonObject = {**row.reported}
    return {"metadata": kept, "tensors": rest, "layers": groups, "reported_mib": reported}


def rows(
    names: list[str], settings: LaunchSettings, type_: str, known: Path | None, record: JsonObject | None = None
) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        kinds = Kinds(Path(folder), known)
        for name in names:
            try:
                path = kinds.write(name, type_)
                pooled = settings.embedding or "pooling_type" in KINDS[name].keys
                one = replace(settings, embedding=pooled)
                row = compare(name, path, one)
                if record is not None:
                    record[name] = recorded(path, row)
                yield row
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                print(f"{name:16} not loaded: {str(error).splitlines()[-1][:200]}", flush=True)


def table(row: Row) -> str:
    cells = [_cell(row.estimated.get(part, 0.0), row.reported.get(part, 0.0)) for part in PARTS]
    mark = "" if within(row) else "  <--"
    return f"{row.kind:16} " + " ".join([*cells, _cell(*row.total)]) + mark


def within(row: Row) -> bool:
    """What is asked of the estimator: 1 % on weights and KV, 10 % on compute buffers, the total never under by 2 %."""
    mine, real = row.total
    exact = all(abs(row.error(part)) <= 0.01 or row.reported.get(part, 0.0) < 1 for part in ("weights", "KV"))
    return exact and abs(row.error("compute")) <= 0.1 and mine >= 0.98 * real


def _cell(mine: float, real: float) -> str:
    error = f"{mine / real - 1:+6.1%}" if real else "     -"
    return f"{mine:8.1f}/{real:8.1f} {error}"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("kinds", nargs="*", help="; ".join(KINDS))
    options.add_argument("--context", type=int, default=8192)
    options.add_argument("--slots", type=int, default=2)
    options.add_argument("--batch", type=int, default=256)
    options.add_argument("--type", default="F16")
    options.add_argument("--kv", default="f16")
    options.add_argument("--no-flash", action="store_true")
    options.add_argument("--shapes", type=Path, help="a file that keeps what the engine said of its tensors")
    options.add_argument(
        "--record", type=Path, help="write what the unit test reads (its kinds and settings are fixed)"
    )
    chosen = options.parse_args()
    settings = LaunchSettings(
        context_tokens=chosen.context, slots=chosen.slots, threads=1, batch_tokens=chosen.batch,
        micro_batch_tokens=chosen.batch, kv_type_k=chosen.kv, kv_type_v=chosen.kv,
        flash_attention=not chosen.no_flash,
    )  # fmt: skip
    print("kind             " + " ".join(f"{part + ', MiB (est./said)':24}" for part in (*PARTS, "total")))
    told: list[Row] = []
    record: JsonObject = {}
    names: list[str] = [*RECORDED] if chosen.record else chosen.kinds or [*KINDS]
    for row in rows(names, settings, chosen.type, chosen.shapes, record):
        print(table(row), flush=True)
        told.append(row)
    if chosen.record:
        lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(facts)}" for name, facts in record.items())
        chosen.record.write_text(f"{{\n{lines}\n}}\n")
    print(f"{sum(map(within, told))} of {len(told)} within 1 % (weights, KV), 10 % (compute), total not under by 2 %")


if __name__ == "__main__":
    main()
