"""Models with random weights at real shapes, for benches about sizes and speeds; what they say is nonsense."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np


@dataclass(frozen=True, slots=True)
class Shape:
    layers: int
    width: int
    wide: int
    heads: int
    heads_kv: int


LLAMA_1B = Shape(16, 2048, 8192, 32, 8)
LLAMA_3B = Shape(28, 3072, 8192, 24, 8)


def make(path: Path, shape: Shape, kind: str, tokenizer: Path) -> None:
    """Write a llama model with matrices of the type `kind` ("Q8_0"); `tokenizer` is any GGUF, which lends its own."""
    writer = gguf.GGUFWriter(str(path), "llama")
    words = lend_tokenizer(writer, tokenizer)
    writer.add_block_count(shape.layers)
    writer.add_context_length(8192)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.wide)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads_kv)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(words)
    random = np.random.default_rng(1)
    type_ = gguf.GGMLQuantizationType[kind]
    # One matrix of blocks that really come from weights is repeated: random bytes would make scales that are no numbers.
    pattern = gguf.quants.quantize(random.normal(0, 0.02, (256, shape.width)).astype(np.float32), type_)
    for name, rows, columns in _matrices(shape, words):
        blocks = np.resize(pattern.reshape(-1), (rows, pattern.shape[1] * columns // shape.width))
        writer.add_tensor(name, blocks, raw_dtype=type_)
    for name in _norms(shape):
        writer.add_tensor(name, np.ones(shape.width, dtype=np.float32))
    finish(writer)


def lend_tokenizer(writer: gguf.GGUFWriter, tokenizer: Path) -> int:
    """Copy the tokenizer of any GGUF; how many words it has."""
    reader = gguf.GGUFReader(tokenizer)
    for name, field in reader.fields.items():
        if name.startswith("tokenizer."):
            sub_type = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), field.types[0], sub_type=sub_type)
    return len(reader.fields["tokenizer.ggml.tokens"].data)


def finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _matrices(shape: Shape, words: int) -> Iterator[tuple[str, int, int]]:
    narrow = shape.width * shape.heads_kv // shape.heads
    yield "token_embd.weight", words, shape.width
    for layer in range(shape.layers):
        for name, rows in (("q", shape.width), ("k", narrow), ("v", narrow), ("output", shape.width)):
            yield f"blk.{layer}.attn_{name}.weight", rows, shape.width
        yield f"blk.{layer}.ffn_gate.weight", shape.wide, shape.width
        yield f"blk.{layer}.ffn_up.weight", shape.wide, shape.width
        yield f"blk.{layer}.ffn_down.weight", shape.width, shape.wide


def _norms(shape: Shape) -> Iterator[str]:
    yield "output_norm.weight"
    for layer in range(shape.layers):
        yield f"blk.{layer}.attn_norm.weight"
        yield f"blk.{layer}.ffn_norm.weight"


if __name__ == "__main__":
    make(Path(sys.argv[1]), {"1b": LLAMA_1B, "3b": LLAMA_3B}[sys.argv[2]], sys.argv[3], Path(sys.argv[4]))
