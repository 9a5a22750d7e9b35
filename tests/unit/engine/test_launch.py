from __future__ import annotations

from dataclasses import replace
from typing import Any

from partage.domain import LaunchSettings
from partage.engine.launch import arguments, batch_tokens, environment, parameters
from partage.engine.spec import LaunchSpec

SETTINGS = LaunchSettings(context_tokens=4096, slots=3, threads=2, prompt_cache_bytes=256 * 2**20, kv_type_k="q8_0")
SPEC = LaunchSpec(id="m#1", model_path="/models/m.gguf", settings=SETTINGS, run_dir="/run")


def with_settings(**changes: Any) -> LaunchSpec:  # noqa: ANN401
    return replace(SPEC, settings=replace(SETTINGS, **changes))


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


def test_context_is_per_slot_and_never_shared():
    values = parameters(SPEC, "/s", "key")
    assert (values["n_ctx"], values["n_parallel"], values["kv_unified"]) == (3 * 4096, 3, False)
    words = arguments(SPEC, "/s", "/k")
    assert (option(words, "--ctx-size"), option(words, "--parallel")) == ("12288", "3")
    assert "--no-kv-unified" in words


def test_nothing_that_takes_memory_is_left_to_llama_cpp():
    values = parameters(SPEC, "/s", "key")
    assert values["fit_params"] is False
    assert values["cache_ram_mib"] == 256
    assert values["n_ctx_checkpoints"] == 0
    assert (values["cache_type_k"], values["cache_type_v"]) == (8, 1)
    words = arguments(SPEC, "/s", "/k")
    assert (option(words, "--fit"), option(words, "--cache-ram"), option(words, "--cache-type-k")) == (
        "off",
        "256",
        "q8_0",
    )


def test_threads_are_exactly_those_given():
    values = parameters(SPEC, "/s", "key")
    assert values["cpuparams.n_threads"] == values["cpuparams_batch.n_threads"] == 2
    words = arguments(SPEC, "/s", "/k")
    assert option(words, "--threads") == option(words, "--threads-batch") == "2"
    assert environment(2, SPEC.devices)["OMP_THREAD_LIMIT"] == "2"
    assert int(environment(2, SPEC.devices)["GOMP_SPINCOUNT"]) < 10_000


def test_key_is_not_on_the_command_line():
    assert parameters(SPEC, "/s", "secret")["api_keys"] == ["secret"]
    assert option(arguments(SPEC, "/s", "/private/key"), "--api-key-file") == "/private/key"


def test_host_engine_sees_no_gpu_and_puts_no_layer_on_one():
    assert parameters(SPEC, "/s", "key")["n_gpu_layers"] == 0
    assert environment(2, SPEC.devices)["CUDA_VISIBLE_DEVICES"] == ""


def test_gpu_engine_sees_its_gpus_in_order():
    spec = replace(with_settings(split=(0.5, 0.5)), devices=("GPU-b", "GPU-a"))
    assert environment(2, spec.devices)["CUDA_VISIBLE_DEVICES"] == "GPU-b,GPU-a"
    assert parameters(spec, "/s", "key")["n_gpu_layers"] == 999
    assert option(arguments(spec, "/s", "/k"), "--tensor-split") == "0.5,0.5"


def test_partly_offloaded_engine_gets_the_layers_of_its_placement():
    spec = replace(with_settings(gpu_layers=12), devices=("GPU-a", "host"))
    assert parameters(spec, "/s", "key")["n_gpu_layers"] == 12
    assert environment(2, spec.devices)["CUDA_VISIBLE_DEVICES"] == "GPU-a"


def test_embedding_engine_takes_a_whole_input_at_once():
    spec = with_settings(embedding=True, batch_tokens=512, micro_batch_tokens=256)
    assert batch_tokens(spec) == (512, 512)
    assert parameters(spec, "/s", "key")["embedding"] is True
    assert "--embeddings" in arguments(spec, "/s", "/k")


def test_projector_is_passed_on():
    spec = replace(SPEC, projector_path="/models/mmproj.gguf")
    assert parameters(spec, "/s", "key")["mmproj.path"] == "/models/mmproj.gguf"
    assert option(arguments(spec, "/s", "/k"), "--mmproj") == "/models/mmproj.gguf"


def test_a_template_in_place_of_the_files_own_is_passed_on():
    spec = replace(SPEC, chat_template="{{ messages }}")
    assert parameters(spec, "/s", "key")["chat_template"] == "{{ messages }}"
    assert option(arguments(spec, "/s", "/k"), "--chat-template") == "{{ messages }}"
    assert "chat_template" not in parameters(SPEC, "/s", "key")
