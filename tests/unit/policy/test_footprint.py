from __future__ import annotations

from dataclasses import replace

import pytest
from anatomies import llama, tensor

from partage.domain import LaunchSettings
from partage.policy.footprint import MIB, estimate

SETTINGS = LaunchSettings(context_tokens=4096, slots=1, threads=2, batch_tokens=512, micro_batch_tokens=512)


def test_kv_of_grouped_query_attention_is_what_llama_cpp_logs() -> None:
    """The 1B shape, 16 layers, 8 KV heads of 64, f16: 2 x 16 x 4096 x 512 x 2 bytes."""
    assert estimate(llama(), SETTINGS).kv_bytes == 128 * MIB


def test_kv_types_and_slots_scale_the_cache() -> None:
    settings = replace(SETTINGS, slots=4, kv_type_k="q8_0", kv_type_v="q4_0")
    assert estimate(llama(), settings).kv_bytes == 4 * (64 * MIB * 17 // 32 + 64 * MIB * 9 // 32)


def test_context_of_a_slot_is_rounded_up_to_256() -> None:
    assert estimate(llama(), replace(SETTINGS, context_tokens=4000)).kv_bytes == 128 * MIB


@pytest.mark.parametrize("looked_up_in", ["Q8_0", "Q4_0"])
def test_repacked_weights_are_held_once_and_a_matrix_that_is_also_looked_up_in_twice(looked_up_in: str) -> None:
    plain = llama(type_="Q4_0")
    tensors = tuple(replace(one, type=looked_up_in) if "token_embd" in one.name else one for one in plain.tensors)
    on_host = estimate(replace(plain, tensors=tensors), SETTINGS)
    embedding = next(one.size_bytes for one in tensors if "token_embd" in one.name)
    twice = embedding if looked_up_in == "Q4_0" else 0
    assert on_host.repack_bytes > embedding
    assert on_host.weights_bytes + on_host.repack_bytes == sum(one.size_bytes for one in tensors) + twice
    assert estimate(plain, SETTINGS, None, "cuda").repack_bytes == 0


def test_experts_of_gpt_oss_are_repacked_and_held_once() -> None:
    """With 4 bits and a shared exponent, as its files are."""
    experts = llama(type_="MXFP4", tied=False)
    on_host = estimate(experts, SETTINGS)
    assert on_host.repack_bytes == sum(one.size_bytes for one in experts.tensors if one.type == "MXFP4")
    assert on_host.weights_bytes + on_host.repack_bytes == experts.weights_bytes


def test_a_matrix_that_does_not_come_in_eight_rows_is_not_repacked() -> None:
    odd = replace(llama(), tensors=(tensor("blk.0.attn_q.weight", "Q4_0", 2048, 12),))
    assert estimate(odd, SETTINGS).repack_bytes == 0


@pytest.mark.parametrize("type_", ["Q8_0", "F16"])
def test_other_weights_are_not_repacked(type_: str) -> None:
    assert estimate(llama(type_=type_), SETTINGS).repack_bytes == 0


def test_sliding_window_layers_keep_only_their_window() -> None:
    gemma = llama(architecture="gemma3", layers=6, metadata={"attention.sliding_window": 512})
    full = 2 * 8 * 64 * 2
    settings = replace(SETTINGS, context_tokens=8192)
    assert estimate(gemma, settings).kv_bytes == full * 8192 + 5 * full * 1024


def test_recurrent_layers_keep_a_state_per_slot_whatever_the_context() -> None:
    mamba = llama(
        architecture="mamba", heads_kv=0, metadata={"ssm.inner_size": 4096, "ssm.state_size": 16, "ssm.conv_kernel": 4}
    )
    state = 16 * 4 * (3 * 4096 + 2 * 3 * 0 + 16 * 4096)
    assert estimate(mamba, SETTINGS).kv_bytes == state
    assert estimate(mamba, replace(SETTINGS, context_tokens=65536, slots=2)).kv_bytes == 2 * state


def test_latent_attention_keeps_keys_only() -> None:
    plain = estimate(llama(architecture="deepseek2"), SETTINGS).kv_bytes
    lengths = {"attention.key_length_mla": 192, "attention.value_length_mla": 128}
    latent = estimate(llama(architecture="deepseek2", metadata=lengths), SETTINGS).kv_bytes
    assert latent * 2 == plain


def test_encoders_keep_no_cache() -> None:
    assert estimate(llama(architecture="bert", causal=False), SETTINGS).kv_bytes == 0


def test_flash_attention_saves_the_scores() -> None:
    without = estimate(llama(), replace(SETTINGS, flash_attention=False)).compute_bytes
    assert without > 3 * estimate(llama(), SETTINGS).compute_bytes


def test_a_projector_costs_its_weights_and_the_scratch_of_a_picture() -> None:
    tower = llama(layers=24, width=1024, heads=16, heads_kv=16, feed_forward=4096)
    assert estimate(llama(), SETTINGS, tower).projector_bytes > tower.weights_bytes


def test_experts_that_sleep_need_no_scratch() -> None:
    dense = llama()
    sparse = [one for one in dense.tensors if "ffn_" not in one.name]
    for layer in range(dense.layers):
        for name, rows, columns in (("gate", 768, 2048), ("up", 768, 2048), ("down", 2048, 768)):
            sparse.append(tensor(f"blk.{layer}.ffn_{name}_exps.weight", "Q8_0", columns, rows, 128))
    experts = llama(architecture="qwen3moe", metadata={"expert_used_count": 8})
    scratch = estimate(replace(experts, tensors=tuple(sparse)), SETTINGS).compute_bytes
    # Of 8 experts the gate, the rise and their product, and their outputs; five states of the model; the mask.
    assert scratch == 4 * 512 * (8 * (3 * 768 + 2048) + 5 * 2048) + 2 * 512 * 4096


def test_compute_of_a_recurrent_model_is_what_llama_cpp_logs() -> None:
    """8 layers of width 1024, inner size 2048: 15.30 MiB at a batch of 256 with two slots."""
    mamba = llama(
        architecture="mamba",
        width=1024,
        heads=0,
        heads_kv=0,
        feed_forward=0,
        metadata={"ssm.inner_size": 2048, "ssm.state_size": 16, "ssm.conv_kernel": 4},
    )
    settings = replace(SETTINGS, context_tokens=8192, slots=2, batch_tokens=256, micro_batch_tokens=256)
    assert abs(estimate(mamba, settings).compute_bytes / MIB - 15.30) < 0.05


def test_a_chat_model_that_embeds_has_room_for_the_logits_of_every_token() -> None:
    """Qwen 3 0.6B in shape: llama.cpp says 157.1 MiB, where 18 would do for a chat."""
    qwen = llama(architecture="qwen3", width=1024, heads=16, heads_kv=8, head=128, feed_forward=3072, vocab=151669)
    settings = LaunchSettings(context_tokens=8192, slots=2, threads=1, embedding=True)
    assert abs(estimate(qwen, settings).compute_bytes / MIB - 157.1) < 0.1
    assert estimate(qwen, replace(settings, embedding=False)).compute_bytes / MIB < 20
