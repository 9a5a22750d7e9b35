"""A vision projector with random weights, for tests: with any small text model it makes a model that takes pictures."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray


def write_projector(path: Path, text_width: int) -> None:
    """Write a vision projector with random weights: what it says is noise, but every part of the way is the real one.

    LLaVA 1.5's shape, small: a CLIP vision transformer and a projector of two layers. llama.cpp: tools/mtmd/clip.cpp.
    """
    random = np.random.default_rng(0)
    size, patch, width, inner, blocks = 56, 14, 64, 128, 2
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", "mlp")
    for key, value in {
        "image_size": size,
        "patch_size": patch,
        "embedding_length": width,
        "feed_forward_length": inner,
        "block_count": blocks,
        "projection_dim": text_width,
        "attention.head_count": 4,
    }.items():
        writer.add_uint32(f"clip.vision.{key}", value)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    writer.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
    writer.add_array("clip.vision.image_std", [0.25, 0.25, 0.25])
    writer.add_bool("clip.use_gelu", False)

    def add(name: str, *shape: int, one: bool = False) -> None:
        values: NDArray[np.float32] = random.standard_normal(shape, dtype=np.float32) * 0.05
        writer.add_tensor(name, np.ones(shape, dtype=np.float32) if one else values)

    def add_linear(name: str, outputs: int, inputs: int) -> None:
        add(f"{name}.weight", outputs, inputs)
        add(f"{name}.bias", outputs)

    def add_norm(name: str) -> None:
        add(f"{name}.weight", width, one=True)
        add(f"{name}.bias", width)

    add("v.class_embd", width)
    add("v.patch_embd.weight", width, 3, patch, patch)
    add("v.position_embd.weight", (size // patch) ** 2 + 1, width)
    add_norm("v.pre_ln")
    for block in range(blocks):
        for part in ("attn_q", "attn_k", "attn_v", "attn_out"):
            add_linear(f"v.blk.{block}.{part}", width, width)
        add_norm(f"v.blk.{block}.ln1")
        add_norm(f"v.blk.{block}.ln2")
        add_linear(f"v.blk.{block}.ffn_up", inner, width)
        add_linear(f"v.blk.{block}.ffn_down", width, inner)
    add_linear("mm.0", text_width, width)
    add_linear("mm.2", text_width, text_width)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
