from __future__ import annotations

from anatomies import llama

from partage.json_value import JsonObject
from partage.policy.layers import attends, head_lengths, keeps_cache, recurs, sees_whole_context, sliding_window_tokens

SCAN = {"ssm.inner_size": 4096, "ssm.state_size": 128, "ssm.conv_kernel": 4, "ssm.group_count": 16}


def test_every_fourth_layer_of_a_gated_delta_net_attends_and_the_others_recur() -> None:
    model = llama(architecture="qwen3next", layers=8, metadata=SCAN)
    assert [layer for layer in range(8) if attends(model, layer)] == [3, 7]
    assert [layer for layer in range(8) if recurs(model, layer)] == [0, 1, 2, 4, 5, 6]


def test_layers_of_nemotron_without_heads_recur_only_where_they_are_not_feed_forward() -> None:
    model = llama(architecture="nemotron_h", layers=2, heads_kv=0, metadata=SCAN)
    assert not recurs(model, 0)
    assert recurs(llama(architecture="nemotron_h", layers=2, heads_kv=0, feed_forward=0, metadata=SCAN), 0)


def test_falcon_h1_does_both_in_every_layer() -> None:
    model = llama(architecture="falcon-h1", layers=2, metadata=SCAN)
    assert attends(model, 1)
    assert recurs(model, 1)


def test_an_unknown_architecture_is_counted_with_all_that_its_header_speaks_of() -> None:
    model = llama(architecture="tomorrow", layers=2, metadata=SCAN | {"attention.sliding_window": 512})
    assert attends(model, 0)
    assert recurs(model, 0)
    assert sees_whole_context(model, 0)


def test_a_header_that_lists_its_windows_is_believed() -> None:
    listed: JsonObject = {"attention.sliding_window": 512, "attention.sliding_window_pattern": [1, 1, 0, 1]}
    assert [sees_whole_context(llama(architecture="gemma4", layers=4, metadata=listed), at) for at in range(4)] == [
        False,
        False,
        True,
        False,
    ]


def test_a_header_that_gives_the_period_of_its_windows_is_believed() -> None:
    period = {"attention.sliding_window": 512, "attention.sliding_window_pattern": 3}
    model = llama(architecture="gemma3", layers=6, metadata=period)
    assert [layer for layer in range(6) if sees_whole_context(model, layer)] == [2, 5]


def test_windows_that_llama_cpp_does_not_use_save_nothing() -> None:
    assert sliding_window_tokens(llama(architecture="phi3", metadata={"attention.sliding_window": 2047})) == 0
    assert (
        sliding_window_tokens(llama(architecture="exaone4", layers=30, metadata={"attention.sliding_window": 4096}))
        == 0
    )


def test_windows_that_llama_cpp_sets_itself_are_known() -> None:
    assert sliding_window_tokens(llama(architecture="gemma2")) == 4096
    assert sliding_window_tokens(llama(architecture="llama4")) == 8192
    assert sliding_window_tokens(llama(architecture="llama4", metadata={"attention.sliding_window": 0})) == 0


def test_layers_that_share_the_keys_of_others_keep_none() -> None:
    gemma = llama(architecture="gemma4", layers=10, metadata={"attention.shared_kv_layers": 4})
    assert [layer for layer in range(10) if attends(gemma, layer)] == [0, 1, 2, 3, 4, 5]
    assert not attends(llama(architecture="gemma3n", layers=30), 20)


def test_a_drafting_head_keeps_nothing() -> None:
    model = llama(architecture="glm4moe", layers=5, metadata={"nextn_predict_layers": 1})
    assert [attends(model, layer) for layer in range(5)] == [True, True, True, True, False]


def test_layers_with_a_window_may_have_heads_of_their_own_length() -> None:
    lengths: JsonObject = {
        "attention.sliding_window": 512,
        "attention.sliding_window_pattern": [1, 0],
        "attention.key_length_swa": 32,
    }
    model = llama(architecture="gemma4", layers=2, metadata=lengths)
    assert head_lengths(model, 0) == (32, 64)
    assert head_lengths(model, 1) == (64, 64)


def test_a_chat_model_used_for_embeddings_keeps_its_cache() -> None:
    assert keeps_cache(llama(causal=False))
    assert not keeps_cache(llama(architecture="bert", causal=False))
