"""Models without weights, of any architecture: the engine is asked, try by try, which tensors it wants and in what shape.

A header with the architecture's keys is enough: llama.cpp names the tensor that it misses, then the shape that it expected.
The files are sparse, so that a mixture of experts of 4 GB costs its header.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import gguf
import numpy as np

Value: TypeAlias = bool | int | float | str | list[int] | list[float]
Shapes: TypeAlias = dict[str, list[int]]
"""Tensor to its extents, the innermost first (as GGUF has them)."""

MOST_TRIES = 4000
_MISSING = re.compile(r"missing tensor '([^']+)'|tensor '([^']+)' not found")
_SHAPE = re.compile(r"tensor '([^']+)' has wrong shape; expected ([\d, ]+), got")
_LIKE = re.compile(r"blk\.\d+\.")
_SMALL = re.compile(
    r"(bias|norm\d?\.weight|ssm_a|ssm_d|ssm_conv1d|ssm_dt|gate_inp|shortconv\.conv|rel_b|sinks|lerp|decay|first|k_k|k_a|r_k)"
)
_PAD = 32


def write(path: Path, architecture: str, keys: Mapping[str, Value], shapes: Shapes, kind: str = "F16") -> None:
    """Write the model; `keys` without the architecture's prefix, `kind` the type of its matrices."""
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in keys.items():
        _add(writer, key if key.startswith("tokenizer.") else f"{architecture}.{key}", value)
    words = int(str(keys["vocab_size"]))
    writer.add_tokenizer_model("test")
    writer.add_token_list([f"tok_{number}" for number in range(words)])
    writer.add_token_scores([0.0] * words)
    total = 0
    for name, shape in shapes.items():
        type_ = _type_of(name, shape, kind)
        block, size = gguf.GGML_QUANT_SIZES[type_]
        bytes_ = math.prod(shape) // block * size
        row = (*reversed(shape[1:]), shape[0] // block * size)
        writer.add_tensor_info(name, row, np.dtype(np.uint8), bytes_, raw_dtype=type_)
        total += -(-bytes_ // _PAD) * _PAD
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    header = -(-path.stat().st_size // _PAD) * _PAD
    os.truncate(path, header + total)


def shapes_of(architecture: str, keys: Mapping[str, Value], optional: Sequence[str] = ()) -> Shapes:
    """Ask the engine, in a child: what it misses it says in its log. `optional` names tensors that it would do without."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "shapes.json"
        what = json.dumps([architecture, dict(keys), list(optional)])
        command = [sys.executable, "-m", "bench.empty_model", what, str(out)]
        subprocess.run(command, timeout=120, env=os.environ | {"GGML_NO_BACKTRACE": "1"}, check=False)
        if not out.exists():
            raise RuntimeError(f"{architecture}: {out.with_name('log').read_text(errors='replace')[-1500:]}")
        return json.loads(out.read_text())


def _add(writer: gguf.GGUFWriter, key: str, value: Value) -> None:
    match value:
        case bool():
            writer.add_bool(key, value)
        case int():
            writer.add_uint32(key, value)
        case float():
            writer.add_float32(key, value)
        case str():
            writer.add_string(key, value)
        case _:
            writer.add_array(key, value)


def _type_of(name: str, shape: Sequence[int], kind: str) -> gguf.GGMLQuantizationType:
    if len([extent for extent in shape if extent > 1]) < 2 or _SMALL.search(name):
        return gguf.GGMLQuantizationType.F32
    type_ = gguf.GGMLQuantizationType[kind]
    return type_ if shape[0] % gguf.GGML_QUANT_SIZES[type_][0] == 0 else gguf.GGMLQuantizationType.F16


def _ask(architecture: str, keys: Mapping[str, Value], optional: Sequence[str], out: Path) -> None:
    """In the child: load and read the complaint until it loads."""
    xllamacpp: Any = importlib.import_module("xllamacpp")  # it ships no types, and only the child pays for it

    known: Shapes = {name: [1] for name in optional}
    like: Shapes = {}
    path, log = out.with_name("model.gguf"), out.with_name("log")
    with log.open("wb") as to:  # from C++ as well, whose own thread writes it: late
        os.dup2(to.fileno(), 1)
        os.dup2(to.fileno(), 2)
    for _ in range(MOST_TRIES):
        write(path, architecture, keys, known)
        words = xllamacpp.CommonParams()
        words.model.path = str(path)
        words.n_ctx, words.n_batch, words.fit_params, words.warmup, words.ui = 256, 64, False, False, False
        words.verbosity = 1
        read = log.stat().st_size
        try:
            server = xllamacpp.Server(words)
        except RuntimeError:
            complaint = _complaint(log, read)
        else:
            out.write_text(json.dumps(known))
            os._exit(server is None)  # a clean end takes longer than all the tries
        if found := _SHAPE.search(complaint):
            known[found[1]] = like[_LIKE.sub("", found[1])] = [int(extent) for extent in found[2].split(",")]
        elif found := _MISSING.search(complaint):
            name = found[1] or found[2]
            known[name] = like.get(_LIKE.sub("", name), [1])
        else:
            sys.exit(complaint)
    sys.exit(f"after {MOST_TRIES} tries it still asks for more")


def _complaint(log: Path, read: int) -> str:
    """Wait until the log's thread has written why."""
    said = ""
    for _ in range(400):
        with log.open("rb") as lines:
            lines.seek(read)
            said = lines.read().decode(errors="replace")
        if found := re.search(r"error loading model.*\n", said):
            return found[0]
        time.sleep(0.005)
    return said[-1500:]


if __name__ == "__main__":
    what, wanted, wished = json.loads(sys.argv[1])
    _ask(what, wanted, wished, Path(sys.argv[2]))
