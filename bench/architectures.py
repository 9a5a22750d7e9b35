"""One header per kind of model that llama.cpp knows: widths as published, fewer layers and experts, so that all load in a minute.

Keys are GGUF's without the architecture's prefix. What estimates are checked against: bench/footprint_check.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bench.empty_model import Value


@dataclass(frozen=True, slots=True)
class Kind:
    architecture: str
    keys: Mapping[str, Value]
    optional: tuple[str, ...] = ()
    """Tensors that llama.cpp would do without: "output.weight" for one that is not tied."""
    fitted: bool = False
    """Looked at when the formulas were first written; the others came later."""


def kind(  # noqa: PLR0913 (a row of the table below)
    architecture: str,
    layers: int,
    width: int,
    heads: int | list[int] = 0,
    heads_kv: int | list[int] | None = None,
    head: int = 0,
    wide: int | list[int] = 0,
    *,
    vocab: int = 32000,
    optional: tuple[str, ...] = (),
    fitted: bool = False,
    **more: Value,
) -> Kind:
    """`more`: further keys, with __ for the dot."""
    keys: dict[str, Value] = {
        "block_count": layers,
        "context_length": 1 << 20,
        "embedding_length": width,
        "feed_forward_length": wide,
        "attention.head_count": heads,
        "vocab_size": vocab,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "attention.layer_norm_epsilon": 1e-5,
    }
    if heads_kv is not None:
        keys["attention.head_count_kv"] = heads_kv
    if head:
        keys["attention.key_length"] = keys["attention.value_length"] = keys["rope.dimension_count"] = head
    return Kind(architecture, keys | {key.replace("__", "."): value for key, value in more.items()}, optional, fitted)


def experts(count: int, used: int, wide: int, **more: Value) -> dict[str, Any]:
    return {"expert_count": count, "expert_used_count": used, "expert_feed_forward_length": wide, **more}


def scan(inner: int, state: int, rank: int, groups: int | None = None) -> dict[str, Any]:
    return {
        "ssm__conv_kernel": 4,
        "ssm__inner_size": inner,
        "ssm__state_size": state,
        "ssm__time_step_rank": rank,
        **({} if groups is None else {"ssm__group_count": groups}),
    }


def latent(**more: Value) -> dict[str, Any]:
    """Multi-head latent attention as DeepSeek has it: one head of 512 + 64 in the cache."""
    return {
        "attention__key_length": 576,
        "attention__value_length": 512,
        "attention__key_length_mla": 192,
        "attention__value_length_mla": 128,
        "attention__kv_lora_rank": 512,
        "rope__dimension_count": 64,
        **more,
    }


def each(layers: Iterable[int], *names: str) -> tuple[str, ...]:
    return tuple(f"blk.{layer}.{name}" for layer in layers for name in names)


HEAD = ("output.weight",)
TYPES: dict[str, Any] = {"tokenizer__ggml__token_type_count": 2}
LINEAR = (0, 1, 2, 4, 5, 6)
"""Of eight layers, of which every fourth attends."""
KINDS: dict[str, Kind] = {
    "llama": kind("llama", 8, 2048, 32, 8, 64, 8192, fitted=True),
    "llama untied": kind("llama", 8, 2048, 32, 8, 64, 8192, vocab=128256, optional=HEAD),
    "mixtral": kind("llama", 4, 1024, 16, 4, 64, 2816, **experts(8, 2, 2816), optional=each(range(4), "ffn_gate_exps.weight"), fitted=True),
    "qwen2": kind("qwen2", 8, 896, 14, 2, 64, 4864, fitted=True),
    "qwen3": kind("qwen3", 8, 1024, 16, 8, 128, 3072, fitted=True),
    "qwen3moe": kind("qwen3moe", 4, 2048, 32, 4, 128, 768, **experts(32, 8, 768), fitted=True),
    "gemma2": kind("gemma2", 8, 2304, 8, 4, 256, 9216, attention__sliding_window=4096, fitted=True),
    "gemma3": kind("gemma3", 12, 1152, 4, 1, 256, 6912, attention__sliding_window=512, fitted=True),
    "mamba": kind("mamba", 8, 768, **scan(1536, 16, 48), fitted=True),
    "gemma": kind("gemma", 6, 2048, 8, 1, 256, 16384),
    "gemma3n": kind(
        "gemma3n", 30, 2048, 8, 2, 256, 8192, attention__sliding_window=512, embedding_length_per_layer_input=256
    ),
    "gemma4": kind(
        "gemma4", 10, 1536, 8, 1, 512, 6144, attention__sliding_window=512, embedding_length_per_layer_input=256,
        attention__shared_kv_layers=5, attention__key_length_swa=256, attention__value_length_swa=256,
        rope__dimension_count_swa=256, attention__sliding_window_pattern=[1, 1, 1, 1, 0] * 2, rope__freq_base_swa=1e4,
    ),
    "cohere2": kind("cohere2", 8, 4096, 32, 8, 128, 14336, attention__sliding_window=4096, logit_scale=0.25),
    "command-r": kind("command-r", 4, 4096, 32, 8, 128, 14336, logit_scale=0.25),
    "phi3": kind("phi3", 8, 3072, 32, 32, 96, 8192, attention__sliding_window=2047, optional=each(range(8), "attn_qkv.weight")),
    "phi2": kind("phi2", 8, 2560, 32, 32, 0, 10240, rope__dimension_count=32),
    "llama4": kind(
        "llama4", 8, 2560, 20, 4, 128, 8192, **experts(8, 1, 4096), interleave_moe_layer_step=1,
        attention__sliding_window=8192, attention__chunk_size=8192,
    ),
    "gpt-oss": kind("gpt-oss", 6, 2880, 64, 8, 64, 2880, **experts(16, 4, 2880), attention__sliding_window=128),
    "smallthinker": kind(
        "smallthinker", 8, 1536, 12, 2, 128, 768, **experts(16, 4, 768), attention__sliding_window=4096,
        expert_gating_func=2,
    ),
    "exaone4": kind("exaone4", 8, 2048, 32, 8, 64, 4096),
    "olmo2": kind("olmo2", 8, 2048, 16, 16, 128, 8192),
    "afmoe": kind(
        "afmoe", 8, 1024, 8, 2, 128, 3072, **experts(16, 4, 256, expert_shared_count=1, leading_dense_block_count=2),
        attention__sliding_window=2048,
    ),
    "qwen2moe": kind(
        "qwen2moe", 4, 2048, 16, 16, 128, 5632, **experts(16, 4, 1408, expert_shared_feed_forward_length=5632)
    ),
    "olmoe": kind("olmoe", 6, 2048, 16, 16, 128, 1024, **experts(32, 8, 1024)),
    "granitemoe": kind("granitemoe", 8, 1024, 16, 8, 64, 512, **experts(32, 8, 512), attention__scale=0.015625, logit_scale=6.0),
    "dots1": kind(
        "dots1", 4, 2048, 16, 16, 128, 5632,
        **experts(16, 6, 704, expert_shared_count=2, leading_dense_block_count=1, expert_weights_scale=2.5, expert_gating_func=2),
    ),
    "glm4moe": kind(
        "glm4moe", 4, 2048, 32, 8, 128, 8192,
        **experts(16, 8, 1408, expert_shared_count=1, leading_dense_block_count=1, expert_gating_func=2),
    ),
    "deepseek2-lite": kind(
        "deepseek2", 27, 1024, 16, 1, 0, 5472, vocab=102400, **latent(leading_dense_block_count=1),
        **experts(8, 6, 704, expert_shared_count=2, expert_weights_scale=1.0),
    ),
    "deepseek3": kind(
        "deepseek2", 6, 2048, 32, 1, 0, 8192, **latent(leading_dense_block_count=1, attention__q_lora_rank=768),
        **experts(16, 8, 1024, expert_shared_count=1, expert_weights_scale=2.5, expert_gating_func=2),
    ),
    "minicpm3": kind(
        "minicpm3", 6, 2560, 40, 40, 0, 6400, attention__key_length=96, attention__value_length=64,
        attention__q_lora_rank=768, attention__kv_lora_rank=256, rope__dimension_count=32,
    ),
    "mamba2": kind("mamba2", 8, 1024, **scan(2048, 128, 32, 1)),
    "jamba": kind(
        "jamba", 8, 2560, 20, [0, 0, 0, 0, 1, 0, 0, 0], 128, 8192, **scan(5120, 16, 160)
    ),
    "granitehybrid": kind(
        "granitehybrid", 8, 1536, 12, [0, 0, 0, 0, 0, 4, 0, 0], 128, 512, **scan(3072, 128, 48, 1),
        **experts(16, 6, 512, expert_shared_feed_forward_length=1024),
        optional=(*each(range(8), "ffn_gate_exps.weight"), *each((0, 1, 2, 3, 4, 6, 7), "ssm_conv1d.bias")),
    ),
    "nemotron_h": kind(
        "nemotron_h", 8, 3072, 32, [0, 0, 0, 0, 8, 0, 0, 0], 128,
        [0, 12288, 0, 12288, 0, 12288, 0, 12288], **scan(7168, 128, 112, 8),
        optional=each((0, 2, 6), "ssm_conv1d.bias"),
    ),
    "falcon-h1": kind("falcon-h1", 6, 2048, 8, 2, 128, 6144, **scan(3072, 256, 48, 1), optional=each(range(6), "ssm_conv1d.bias")),
    "plamo2": kind(
        "plamo2", 4, 2048, 16, [0, 2, 0, 2], 128, 8192, **scan(4096, 64, 32, 0)
    ),
    "lfm2": kind("lfm2", 8, 1024, 16, [0, 0, 8, 0, 0, 8, 0, 8], 64, 4608, shortconv__l_cache=3),
    "lfm2moe": kind(
        "lfm2moe", 8, 2048, 32, [0, 0, 8, 0, 0, 8, 0, 8], 64, 7168, shortconv__l_cache=3,
        **experts(16, 4, 1792, leading_dense_block_count=2, expert_gating_func=2),
    ),
    "qwen3next": kind(
        "qwen3next", 8, 2048, 16, 2, 256, 5120, **scan(4096, 128, 32, 16),
        **experts(32, 10, 512, expert_shared_feed_forward_length=512),
        optional=each(LINEAR, "attn_qkv.weight", "attn_gate.weight"),
    ),
    "qwen35": kind(
        "qwen35", 8, 2048, 8, 2, 256, 6144, **scan(2048, 128, 16, 16), rope__dimension_sections=[11, 11, 10, 0],
        optional=each(LINEAR, "attn_qkv.weight", "attn_gate.weight"),
    ),
    "kimi-linear": kind(
        "kimi-linear", 8, 2304, 32, [0, 0, 0, 1, 0, 0, 0, 1], 0, 9216, **latent(leading_dense_block_count=1),
        **experts(16, 8, 1024, expert_shared_count=1, expert_gating_func=2), ssm__conv_kernel=4, kda__head_dim=128,
    ),
    "rwkv6": kind(
        "rwkv6", 8, 2048, wide=7168, wkv__head_size=64, time_mix_extra_dim=32, time_decay_extra_dim=64,
        rescale_every_n_layers=6, optional=(*HEAD, *each(range(8), "time_mix_lerp_fused.weight")),
    ),
    "rwkv7": kind(
        "rwkv7", 8, 1024, wide=4096, wkv__head_size=64, attention__decay_lora_rank=64, attention__iclr_lora_rank=64,
        attention__value_residual_mix_lora_rank=32, attention__gate_lora_rank=128,
    ),
    "bert": kind("bert", 6, 384, 12, wide=1536, attention__causal=False, **TYPES, pooling_type=1, vocab=30522, fitted=True),
    "nomic-bert": kind("nomic-bert", 6, 768, 12, wide=3072, attention__causal=False, **TYPES, pooling_type=1, vocab=30522),
    "nomic-bert-moe": kind(
        "nomic-bert-moe", 6, 768, 12, wide=3072, attention__causal=False, **TYPES, pooling_type=1, moe_every_n_layers=2,
        expert_count=8, expert_used_count=2, vocab=250048,
    ),
    "modern-bert": kind(
        "modern-bert", 9, 768, 12, wide=1152, attention__causal=False, **TYPES, pooling_type=2, attention__sliding_window=128,
        vocab=50368,
    ),
    "gemma-embedding": kind(
        "gemma-embedding", 12, 768, 3, 1, 256, 1152, attention__causal=False, **TYPES, pooling_type=1,
        attention__sliding_window=512, vocab=262144,
    ),
    "qwen3 embedding": kind("qwen3", 8, 1024, 16, 8, 128, 3072, vocab=151669, pooling_type=3),
    "t5encoder": kind(
        "t5encoder", 6, 1024, 16, wide=4096, attention__key_length=64, attention__value_length=64,
        attention__relative_buckets_count=32, pooling_type=1, optional=("enc.blk.0.attn_rel_b.weight",),
    ),
    "gpt2": kind("gpt2", 6, 768, 12, wide=3072, vocab=50257),
    "gptneox": kind("gptneox", 6, 2048, 8, wide=8192, rope__dimension_count=64, use_parallel_residual=True),
    "falcon": kind("falcon", 4, 4544, 71, 1, 64, 18176),
    "bloom": kind("bloom", 6, 1024, 16, wide=4096, vocab=250880),
    "starcoder2": kind("starcoder2", 6, 3072, 24, 2, 128, 12288),
    "stablelm": kind("stablelm", 6, 2048, 32, 32, 64, 5632, rope__dimension_count=16, use_parallel_residual=False),
    "qwen2vl": kind("qwen2vl", 6, 1536, 12, 2, 128, 8960, rope__dimension_sections=[16, 24, 24, 0]),
    "hunyuan-moe": kind(
        "hunyuan-moe", 4, 4096, 32, 8, 128, 3072, **experts(8, 8, 3072, expert_shared_feed_forward_length=3072)
    ),
    "ernie4_5-moe": kind(
        "ernie4_5-moe", 4, 2560, 20, 4, 128, 12288,
        **experts(16, 6, 1536, expert_shared_feed_forward_length=3072, leading_dense_block_count=1),
        interleave_moe_layer_step=1,
    ),
    "openelm": kind("openelm", 4, 1280, [12, 12, 16, 16], [3, 3, 4, 4], 64, [1792, 2048, 2560, 3072]),
    "mpt": kind("mpt", 4, 4096, 32, wide=16384, attention__max_alibi_bias=8.0, attention__clamp_kqv=0.0),
    "smollm3": kind("smollm3", 8, 2048, 16, 4, 128, 11008),
    "nemotron": kind("nemotron", 4, 3072, 24, 8, 128, 9216),
}  # fmt: skip
