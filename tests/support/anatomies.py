"""Model shapes for tests: what a GGUF header of such a model would say."""

from __future__ import annotations

from collections.abc import Mapping

from partage.domain import Anatomy, TensorFacts
from partage.json_value import JsonValue


def tensor(name: str, type_: str, *shape: int) -> TensorFacts:
    count = 1
    for side in shape:
        count *= side
    size = {"F32": 4.0, "F16": 2.0, "Q8_0": 34 / 32, "Q4_0": 18 / 32, "MXFP4": 17 / 32}[type_]
    return TensorFacts(name=name, type=type_, shape=shape, size_bytes=int(count * size))


def llama(
    *,
    architecture: str = "llama",
    layers: int = 16,
    width: int = 2048,
    heads: int = 32,
    heads_kv: int | tuple[int, ...] = 8,
    head: int = 64,
    feed_forward: int = 8192,
    vocab: int = 49152,
    type_: str = "Q8_0",
    tied: bool = True,
    causal: bool = True,
    context: int = 131072,
    metadata: Mapping[str, JsonValue] | None = None,
) -> Anatomy:
    per_layer_kv = heads_kv if isinstance(heads_kv, tuple) else (heads_kv,) * layers
    tensors = [tensor("token_embd.weight", "Q8_0", width, vocab), tensor("output_norm.weight", "F32", width)]
    if not tied:
        tensors.append(tensor("output.weight", type_, width, vocab))
    for layer in range(layers):
        kv = max(per_layer_kv) * head
        tensors += [
            tensor(f"blk.{layer}.attn_norm.weight", "F32", width),
            tensor(f"blk.{layer}.attn_q.weight", type_, width, heads * head),
            tensor(f"blk.{layer}.attn_k.weight", type_, width, kv),
            tensor(f"blk.{layer}.attn_v.weight", type_, width, kv),
            tensor(f"blk.{layer}.attn_output.weight", type_, heads * head, width),
            tensor(f"blk.{layer}.ffn_norm.weight", "F32", width),
            tensor(f"blk.{layer}.ffn_gate.weight", type_, width, feed_forward),
            tensor(f"blk.{layer}.ffn_up.weight", type_, width, feed_forward),
            tensor(f"blk.{layer}.ffn_down.weight", type_, feed_forward, width),
        ]
    return Anatomy(
        architecture=architecture,
        layers=layers,
        embedding_length=width,
        feed_forward_length=(feed_forward,) * layers,
        heads=(heads,) * layers,
        heads_kv=per_layer_kv,
        key_length=head,
        value_length=head,
        context_train_tokens=context,
        vocab_tokens=vocab,
        causal=causal,
        tensors=tuple(tensors),
        metadata={f"{architecture}.{name}": value for name, value in (metadata or {}).items()},
    )
