"""The models that people run, with random weights at their real shapes: llama3.2 3B, LLaVA 1.5 13B, nomic-embed.

Bytes and speeds depend on nothing else; what they say is noise. Any small GGUF lends its tokenizer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from bench.random_model import LLAMA_3B, Shape, finish, lend_tokenizer, make

LLAMA_13B = Shape(layers=40, width=5120, wide=13824, heads=40, heads_kv=40)


@dataclass(frozen=True, slots=True)
class Tower:
    """A CLIP vision transformer and LLaVA's projector of two layers (llama.cpp: tools/mtmd/clip.cpp)."""

    size: int
    patch: int
    width: int
    inner: int
    blocks: int
    heads: int


VIT_L_336 = Tower(size=336, patch=14, width=1024, inner=4096, blocks=23, heads=16)
"""CLIP ViT-L/14 at 336 pixels; LLaVA leaves the last of the 24 blocks out."""


@dataclass(frozen=True, slots=True)
class Bert:
    layers: int
    width: int
    inner: int
    heads: int


NOMIC_EMBED = Bert(layers=12, width=768, inner=3072, heads=12)


def make_all(folder: Path, chat_tokenizer: Path, embed_tokenizer: Path, *, small: bool = False) -> list[Path]:
    """Write every model into the folder, named as a GGUF directory is read; `small`: two layers of each."""
    folder.mkdir(parents=True, exist_ok=True)
    llama, vicuna, nomic, tower = LLAMA_3B, LLAMA_13B, NOMIC_EMBED, VIT_L_336
    if small:
        llama, vicuna = (
            replace(shape, layers=2) for shape in (llama, replace(vicuna, width=1280, heads=10, heads_kv=10))
        )
        nomic, tower = replace(nomic, layers=2), replace(tower, blocks=2)
    written: list[tuple[str, Callable[[Path], None]]] = [
        ("llama3.2-3b-q4_0.gguf", lambda path: make(path, llama, "Q4_0", chat_tokenizer)),
        ("llama3.2-3b-q8_0.gguf", lambda path: make(path, llama, "Q8_0", chat_tokenizer)),
        ("llava-13b-q4_0.gguf", lambda path: make(path, vicuna, "Q4_0", chat_tokenizer)),
        ("mmproj-llava-13b-f16.gguf", lambda path: make_projector(path, tower, vicuna.width, np.float16)),
        ("nomic-embed-f16.gguf", lambda path: make_nomic(path, nomic, embed_tokenizer)),
    ]
    for name, write in written:
        if not (folder / name).exists():
            write(folder / f"{name}.new")
            (folder / f"{name}.new").rename(folder / name)
    return [folder / name for name, _ in written]


def make_projector(path: Path, tower: Tower, text_width: int, kind: type[np.float16 | np.float32]) -> None:
    """With any text model of that width it makes one that takes pictures."""
    random = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_bool("clip.has_vision_encoder", val=True)
    writer.add_string("clip.projector_type", "mlp")
    for key, value in {
        "image_size": tower.size,
        "patch_size": tower.patch,
        "embedding_length": tower.width,
        "feed_forward_length": tower.inner,
        "block_count": tower.blocks,
        "projection_dim": text_width,
        "attention.head_count": tower.heads,
    }.items():
        writer.add_uint32(f"clip.vision.{key}", value)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    writer.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
    writer.add_array("clip.vision.image_std", [0.25, 0.25, 0.25])
    writer.add_bool("clip.use_gelu", val=False)
    for name, shape in _projector_tensors(tower, text_width):
        values: NDArray[np.float32] = random.standard_normal(shape, dtype=np.float32) * 0.05
        if name.endswith(".weight") and len(shape) == 1:
            values = np.ones(shape, dtype=np.float32)  # a norm
        matrix = len(shape) > 1 and not name.startswith("v.position")
        writer.add_tensor(name, values.astype(kind) if matrix else values)
    finish(writer)


def _projector_tensors(tower: Tower, text_width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    def linear(name: str, outputs: int, inputs: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield f"{name}.weight", (outputs, inputs)
        yield f"{name}.bias", (outputs,)

    def norm(name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield f"{name}.weight", (tower.width,)
        yield f"{name}.bias", (tower.width,)

    yield "v.class_embd", (tower.width,)
    yield "v.patch_embd.weight", (tower.width, 3, tower.patch, tower.patch)
    yield "v.position_embd.weight", ((tower.size // tower.patch) ** 2 + 1, tower.width)
    yield from norm("v.pre_ln")
    for block in range(tower.blocks):
        for part in ("attn_q", "attn_k", "attn_v", "attn_out"):
            yield from linear(f"v.blk.{block}.{part}", tower.width, tower.width)
        yield from norm(f"v.blk.{block}.ln1")
        yield from norm(f"v.blk.{block}.ln2")
        yield from linear(f"v.blk.{block}.ffn_up", tower.inner, tower.width)
        yield from linear(f"v.blk.{block}.ffn_down", tower.width, tower.inner)
    yield from linear("mm.0", text_width, tower.width)
    yield from linear("mm.2", text_width, text_width)


def make_nomic(path: Path, shape: Bert, tokenizer: Path) -> None:
    """A BERT with rotary positions and a gated feed-forward part; its vocabulary is BERT's own."""
    random = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "nomic-bert")
    words = lend_tokenizer(writer, tokenizer)
    writer.add_block_count(shape.layers)
    writer.add_context_length(2048)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.inner)
    writer.add_head_count(shape.heads)
    writer.add_layer_norm_eps(1e-12)
    writer.add_rope_freq_base(1000.0)
    writer.add_causal_attention(value=False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    for name, size in _nomic_tensors(shape, words):
        if len(size) > 1:
            kind = np.float32 if name == "token_types.weight" else np.float16
            writer.add_tensor(name, (random.standard_normal(size, dtype=np.float32) * 0.02).astype(kind))
        else:
            writer.add_tensor(name, np.full(size, float(name.endswith(".weight")), dtype=np.float32))
    finish(writer)


def _nomic_tensors(shape: Bert, words: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    def norm(name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield f"{name}.weight", (shape.width,)
        yield f"{name}.bias", (shape.width,)

    yield "token_embd.weight", (words, shape.width)
    yield "token_types.weight", (2, shape.width)
    yield from norm("token_embd_norm")
    for layer in range(shape.layers):
        block = f"blk.{layer}"
        yield f"{block}.attn_qkv.weight", (3 * shape.width, shape.width)
        yield f"{block}.attn_output.weight", (shape.width, shape.width)
        yield from norm(f"{block}.attn_output_norm")
        yield f"{block}.ffn_up.weight", (shape.inner, shape.width)
        yield f"{block}.ffn_gate.weight", (shape.inner, shape.width)
        yield f"{block}.ffn_down.weight", (shape.width, shape.inner)
        yield from norm(f"{block}.layer_output_norm")
