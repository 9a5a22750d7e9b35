"""The footprint estimator against what llama.cpp itself logs, over architectures made with empty weights at real shapes.

python bench/footprint_check.py TOKENIZER.gguf [--context 8192]     any small GGUF lends its tokenizer
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np

from partage.domain import Footprint, LaunchSettings
from partage.models.anatomy import anatomy
from partage.models.gguf_header import read_header
from partage.policy.footprint import estimate

CHILD = """
import sys, xllamacpp
p = xllamacpp.CommonParams()
p.model.path, p.n_ctx, p.n_parallel = sys.argv[1], int(sys.argv[2]) * int(sys.argv[3]), int(sys.argv[3])
p.n_batch = p.n_ubatch = 256
p.verbosity, p.fit_params, p.cpuparams.n_threads, p.cache_ram_mib, p.warmup, p.ui = 4, False, 1, 0, False, False
server = xllamacpp.Server(p)
del server
"""
LAYERS, WIDTH, HEADS, HEADS_KV, HEAD, WIDE, VOCAB = 8, 1024, 16, 4, 64, 2816, 49152
EXPERTS, USED, EXPERT_WIDE = 8, 2, 768
INNER, STATE, KERNEL, RANK = 2048, 16, 4, 64


def attention(b: str, *, bias: bool = False, norms: bool = False) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield b + "attn_norm.weight", (WIDTH,)
    for name, out in (("q", HEADS * HEAD), ("k", HEADS_KV * HEAD), ("v", HEADS_KV * HEAD)):
        yield f"{b}attn_{name}.weight", (out, WIDTH)
        if bias:
            yield f"{b}attn_{name}.bias", (out,)
    yield b + "attn_output.weight", (WIDTH, HEADS * HEAD)
    if norms:
        yield b + "attn_q_norm.weight", (HEAD,)
        yield b + "attn_k_norm.weight", (HEAD,)


def dense(b: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield b + "ffn_norm.weight", (WIDTH,)
    yield b + "ffn_gate.weight", (WIDE, WIDTH)
    yield b + "ffn_up.weight", (WIDE, WIDTH)
    yield b + "ffn_down.weight", (WIDTH, WIDE)


def experts(b: str, wide: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield b + "ffn_norm.weight", (WIDTH,)
    yield b + "ffn_gate_inp.weight", (EXPERTS, WIDTH)
    yield b + "ffn_gate_exps.weight", (EXPERTS, wide, WIDTH)
    yield b + "ffn_up_exps.weight", (EXPERTS, wide, WIDTH)
    yield b + "ffn_down_exps.weight", (EXPERTS, WIDTH, wide)


def mamba(b: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield b + "attn_norm.weight", (WIDTH,)
    yield b + "ssm_in.weight", (2 * INNER, WIDTH)
    yield b + "ssm_conv1d.weight", (INNER, KERNEL)
    yield b + "ssm_conv1d.bias", (INNER,)
    yield b + "ssm_x.weight", (RANK + 2 * STATE, INNER)
    yield b + "ssm_dt.weight", (INNER, RANK)
    yield b + "ssm_dt.bias", (INNER,)
    yield b + "ssm_a", (INNER, STATE)
    yield b + "ssm_d", (INNER,)
    yield b + "ssm_out.weight", (WIDTH, INNER)


def layer(kind: str, b: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    match kind:
        case "mamba":
            yield from mamba(b)
        case "llama-moe":
            yield from attention(b)
            yield from experts(b, WIDE)
        case "qwen3moe":
            yield from attention(b, norms=True)
            yield from experts(b, EXPERT_WIDE)
        case _:
            yield from attention(b, bias=kind == "qwen2", norms=kind in {"qwen3", "gemma3"})
            yield from dense(b)
            if kind in {"gemma2", "gemma3"}:
                yield b + "post_attention_norm.weight", (WIDTH,)
                yield b + "post_ffw_norm.weight", (WIDTH,)


KINDS = ("llama", "llama-moe", "qwen2", "qwen3", "qwen3moe", "gemma2", "gemma3", "mamba")


def make(kind: str, path: Path, tokenizer: gguf.GGUFReader) -> None:
    arch = kind.removesuffix("-moe")
    writer = gguf.GGUFWriter(str(path), arch)
    for name, field in tokenizer.fields.items():
        if name.startswith("tokenizer."):
            sub_type = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), field.types[0], sub_type=sub_type)
    writer.add_block_count(LAYERS)
    writer.add_context_length(131072)
    writer.add_embedding_length(WIDTH)
    writer.add_vocab_size(VOCAB)
    writer.add_layer_norm_rms_eps(1e-5)
    if kind == "mamba":
        writer.add_feed_forward_length(0)
        writer.add_head_count(0)
        writer.add_ssm_conv_kernel(KERNEL)
        writer.add_ssm_inner_size(INNER)
        writer.add_ssm_state_size(STATE)
        writer.add_ssm_time_step_rank(RANK)
    else:
        writer.add_feed_forward_length(WIDE)
        writer.add_head_count(HEADS)
        writer.add_head_count_kv(HEADS_KV)
        writer.add_key_length(HEAD)
        writer.add_value_length(HEAD)
    if "moe" in kind:
        writer.add_expert_count(EXPERTS)
        writer.add_expert_used_count(USED)
        writer.add_expert_feed_forward_length(WIDE if kind == "llama-moe" else EXPERT_WIDE)
    if kind in {"gemma2", "gemma3"}:
        writer.add_sliding_window(1024)
    shapes = [("token_embd.weight", (VOCAB, WIDTH)), ("output_norm.weight", (WIDTH,))]
    shapes += [one for number in range(LAYERS) for one in layer(kind, f"blk.{number}.")]
    for name, shape in shapes:
        small = len(shape) == 1 or name.endswith(("ssm_a", "conv1d.weight", "gate_inp.weight"))
        writer.add_tensor(name, np.zeros(shape, dtype=np.float32 if small else np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def logged(path: Path, context: int, slots: int) -> dict[str, float]:
    """MiB by part, as llama.cpp says while it loads."""
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(path), str(context), str(slots)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    found: dict[str, float] = {}
    for line in (child.stdout + child.stderr).splitlines():
        match = re.search(r"(model|KV|RS|output|compute) buffer size = +([\d.]+) MiB", line)
        if match:
            part = {"RS": "KV"}.get(match[1], match[1])
            found[part] = found.get(part, 0.0) + float(match[2])
    if not found:
        print((child.stdout + child.stderr)[-600:])
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("tokenizer", type=Path)
    options.add_argument("--context", type=int, default=8192)
    options.add_argument("--slots", type=int, default=2)
    options.add_argument("--only", choices=KINDS)
    chosen = options.parse_args()
    tokenizer = gguf.GGUFReader(str(chosen.tokenizer))
    settings = LaunchSettings(context_tokens=chosen.context, slots=chosen.slots, threads=1)
    with tempfile.TemporaryDirectory() as folder:
        for kind in [chosen.only] if chosen.only else KINDS:
            path = Path(folder) / f"{kind}.gguf"
            make(kind, path, tokenizer)
            expected = estimate(anatomy(read_header(path)), settings)
            print(f"{kind:10}", _compared(expected, logged(path, chosen.context, chosen.slots)))
            path.unlink()


def _compared(expected: Footprint, real: dict[str, float]) -> str:
    parts = {
        "model": expected.weights_bytes + expected.repack_bytes,
        "KV": expected.kv_bytes,
        "compute": expected.compute_bytes,
        "output": expected.output_bytes,
    }
    told = [_ratio(part, size / 2**20, real.get(part, 0.0)) for part, size in parts.items()]
    return "  ".join([*told, _ratio("total", sum(parts.values()) / 2**20, sum(real.values()))])


def _ratio(part: str, expected: float, real: float) -> str:
    error = f"{expected / real - 1:+7.2%}" if real else "      -"
    return f"{part} {expected:8.2f}/{real:8.2f} MiB {error}"


if __name__ == "__main__":
    main()
