"""LaunchSpec to llama.cpp's own words: library parameters, llama-server arguments, environment. Nothing is left to chance.

Each line that is not obvious has its reason. What llama.cpp would otherwise decide by itself (context from the model,
layers by what fits at the moment, 8 GiB of prompt cache) is always said, because the hub has promised the memory.
"""

from __future__ import annotations

from collections.abc import Sequence

from partage.domain import DeviceId
from partage.engine.spec import HOST, LaunchSpec
from partage.json_value import JsonObject, JsonValue

KV_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "iq4_nl": 20, "bf16": 30}
ALL_LAYERS = 999
LOG_WITH_BUFFER_SIZES = 4
_MIB = 1024 * 1024


def gpu_layers(spec: LaunchSpec) -> int:
    if all(device == HOST for device in spec.devices):
        return 0
    return ALL_LAYERS if spec.settings.gpu_layers < 0 else spec.settings.gpu_layers


def batch_tokens(spec: LaunchSpec) -> tuple[int, int]:
    """Batch and micro-batch: an embedding model reads an input whole, so that both are the larger of the two."""
    settings = spec.settings
    if settings.embedding:
        larger = max(settings.batch_tokens, settings.micro_batch_tokens)
        return larger, larger
    return settings.batch_tokens, min(settings.micro_batch_tokens, settings.batch_tokens)


def http_threads(spec: LaunchSpec) -> int:
    return spec.settings.slots + 4  # one waits with each stream, a few are for short calls; none of them computes


def parameters(spec: LaunchSpec, socket_path: str, key: str) -> JsonObject:
    """For xllamacpp: names of CommonParams, dotted where a parameter has parts."""
    settings = spec.settings
    batch, micro_batch = batch_tokens(spec)
    values: JsonObject = {
        "model.path": spec.model_path,
        "hostnames": [socket_path],
        "api_keys": [key],
        "ui": False,
        "n_ctx": settings.context_tokens * settings.slots,
        "n_parallel": settings.slots,
        "kv_unified": False,  # every slot has its own context, as promised
        "n_batch": batch,
        "n_ubatch": micro_batch,
        "cpuparams.n_threads": settings.threads,
        "cpuparams_batch.n_threads": settings.threads,
        "n_threads_http": http_threads(spec),
        "n_gpu_layers": gpu_layers(spec),
        "flash_attn_type": int(settings.flash_attention),
        "cache_type_k": KV_TYPES[settings.kv_type_k],
        "cache_type_v": KV_TYPES[settings.kv_type_v],
        "cache_ram_mib": settings.prompt_cache_bytes // _MIB,
        "n_ctx_checkpoints": 0,  # copies of sliding-window caches, which nobody counts
        "fit_params": False,
        "ctx_shift": False,
        "warmup": False,  # the first prompt warms it as well, and sooner
        "load_mode": 1 if spec.map_weights else 0,
        "no_extra_bufts": not spec.repack,
        "embedding": settings.embedding,
        "verbosity": LOG_WITH_BUFFER_SIZES,
    }
    if spec.chat_template:
        values["chat_template"] = spec.chat_template
    if spec.projector_path:
        values["mmproj.path"] = spec.projector_path
    if settings.split:
        split: list[JsonValue] = [*settings.split]
        values["tensor_split"] = split
    return values


def arguments(spec: LaunchSpec, socket_path: str, key_path: str) -> list[str]:
    """For a llama-server binary of the same age as xllamacpp: the same, said on the command line."""
    settings = spec.settings
    batch, micro_batch = batch_tokens(spec)
    words: list[str | int] = [
        *("--model", spec.model_path, "--host", socket_path, "--api-key-file", key_path, "--no-ui"),
        *("--ctx-size", settings.context_tokens * settings.slots, "--parallel", settings.slots),
        *("--batch-size", batch, "--ubatch-size", micro_batch),
        *("--threads", settings.threads, "--threads-batch", settings.threads, "--threads-http", http_threads(spec)),
        *("--n-gpu-layers", gpu_layers(spec), "--flash-attn", "on" if settings.flash_attention else "off"),
        *("--cache-type-k", settings.kv_type_k, "--cache-type-v", settings.kv_type_v),
        *("--cache-ram", settings.prompt_cache_bytes // _MIB, "--ctx-checkpoints", 0),
        *("--fit", "off", "--no-context-shift", "--no-warmup", "--no-kv-unified"),
        *("--load-mode", "mmap" if spec.map_weights else "none"),
        *("--verbosity", LOG_WITH_BUFFER_SIZES, "--log-colors", "off"),
    ]
    if not spec.repack:
        words.append("--no-repack")
    if settings.embedding:
        words.append("--embeddings")
    if spec.chat_template:
        words += ["--jinja", "--chat-template", spec.chat_template]
    if spec.projector_path:
        words += ["--mmproj", spec.projector_path]
    if settings.split:
        words += ["--tensor-split", ",".join(f"{share:g}" for share in settings.split)]
    return [str(word) for word in words]


def environment(threads: int, devices: Sequence[DeviceId]) -> dict[str, str]:
    """What libgomp and CUDA read when they are loaded: it cannot be changed in a process that waits for its orders."""
    return {
        "CUDA_VISIBLE_DEVICES": ",".join(device for device in devices if device != HOST),
        "OMP_NUM_THREADS": str(threads),
        "OMP_THREAD_LIMIT": str(threads),  # never more, whatever a part of the library asks for
        "OMP_DYNAMIC": "false",
        # Threads that wait for each other burn their core; libgomp's own 300,000 rounds cost 90 % of the speed as soon as
        # anything else computes on the machine (2 cores, busy: 6 tokens/s, with 1000 rounds 51; idle: 105 and 78). That other
        # engines are paused does not help against strangers: with seven other busy processes 3 and 24. None at all would do
        # better then (60), but where nothing else runs the cores fall asleep at each barrier: 20.
        "GOMP_SPINCOUNT": "1000",
    }
