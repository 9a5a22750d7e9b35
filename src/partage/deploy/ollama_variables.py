"""The variables that `ollama serve` and its client read, and those that people set in the belief that they are read."""

from __future__ import annotations

import re

READ = frozenset(
    {
        "OLLAMA_API_KEY", "OLLAMA_AUTH", "OLLAMA_CLOUD_BASE_URL", "OLLAMA_CONTEXT_LENGTH", "OLLAMA_DEBUG", "OLLAMA_DEBUG_LOG_REQUESTS",
        "OLLAMA_EDITOR", "OLLAMA_EXPERIMENT", "OLLAMA_FLASH_ATTENTION", "OLLAMA_GO_TEMPLATE", "OLLAMA_GPU_OVERHEAD", "OLLAMA_HOST",
        "OLLAMA_IGPU_ENABLE", "OLLAMA_INTEL_GPU", "OLLAMA_KEEP_ALIVE", "OLLAMA_KV_CACHE_TYPE", "OLLAMA_LIBRARY_PATH",
        "OLLAMA_LLAMA_CPP_COMPAT", "OLLAMA_LLM_LIBRARY", "OLLAMA_LOAD_TIMEOUT", "OLLAMA_MAX_LOADED_MODELS", "OLLAMA_MAX_QUEUE",
        "OLLAMA_MAX_TRANSFER_STREAMS", "OLLAMA_MODELS", "OLLAMA_MULTIUSER_CACHE", "OLLAMA_NEW_ENGINE", "OLLAMA_NEW_ESTIMATES",
        "OLLAMA_NOHISTORY", "OLLAMA_NOPRUNE", "OLLAMA_NO_CLOUD", "OLLAMA_NUM_PARALLEL", "OLLAMA_ORIGINS", "OLLAMA_REMOTES",
        "OLLAMA_SCHED_SPREAD", "OLLAMA_TMPDIR", "OLLAMA_RUNNERS_DIR", "OLLAMA_VULKAN",
    }
)  # fmt: skip
"""Of some version: an old image may still read what a new one does not."""

_CAP = "OLLAMA_GPU_OVERHEAD keeps some memory free; a cap needs a hub"
_LAYERS = "use the option num_gpu of a request or Modelfile"
_FOUND = "GPUs are found by the server itself; CUDA_VISIBLE_DEVICES chooses"
_THREADS = "use the option num_thread of a request or Modelfile"
INSTEAD = {
    "OLLAMA_MAX_VRAM": _CAP,
    "OLLAMA_VRAM_LIMIT": _CAP,
    "OLLAMA_GPU_MEMORY": _CAP,
    "OLLAMA_GPU_MEMORY_LIMIT": _CAP,
    "OLLAMA_GPU_MEMORY_FRACTION": _CAP,
    "OLLAMA_GPU_MEMORY_UTILIZATION": _CAP,
    "OLLAMA_CUDA_MEMORY_FRACTION": _CAP,
    "OLLAMA_MAX_GPU_MEMORY": _CAP,
    "OLLAMA_MEMORY_LIMIT": "the server has no memory limit of its own",
    "OLLAMA_NUM_GPU": _LAYERS,
    "OLLAMA_GPU_LAYERS": _LAYERS,
    "OLLAMA_NUM_GPU_LAYERS": _LAYERS,
    "OLLAMA_N_GPU_LAYERS": _LAYERS,
    "OLLAMA_GPU": _FOUND,
    "OLLAMA_USE_GPU": _FOUND,
    "OLLAMA_ENABLE_GPU": _FOUND,
    "OLLAMA_GPU_ENABLED": _FOUND,
    "OLLAMA_CUDA": _FOUND,
    "OLLAMA_USE_CUDA": _FOUND,
    "OLLAMA_THREADS": _THREADS,
    "OLLAMA_NUM_THREAD": _THREADS,
    "OLLAMA_NUM_THREADS": _THREADS,
    "OLLAMA_CPU_THREADS": _THREADS,
    "OLLAMA_NUM_CTX": "use OLLAMA_CONTEXT_LENGTH",
    "OLLAMA_CONTEXT_LEN": "use OLLAMA_CONTEXT_LENGTH",
    "OLLAMA_CONTEXT_SIZE": "use OLLAMA_CONTEXT_LENGTH",
    "OLLAMA_BATCH_SIZE": "use the option num_batch of a request or Modelfile",
    "OLLAMA_CONCURRENCY": "use OLLAMA_NUM_PARALLEL",
    "OLLAMA_CONCURRENT_REQUESTS": "use OLLAMA_NUM_PARALLEL",
    "OLLAMA_MAX_MODELS": "use OLLAMA_MAX_LOADED_MODELS",
    "OLLAMA_PARALLEL": "use OLLAMA_NUM_PARALLEL",
    "OLLAMA_PARALLEL_REQUESTS": "use OLLAMA_NUM_PARALLEL",
    "OLLAMA_MAX_QUEUE_SIZE": "use OLLAMA_MAX_QUEUE",
    "OLLAMA_KEEPALIVE": "use OLLAMA_KEEP_ALIVE",
    "OLLAMA_DEFAULT_KEEP_ALIVE": "use OLLAMA_KEEP_ALIVE",
}
"""Name that nothing reads -> what there is."""
WITHOUT_PREFIX = {
    "KEEP_ALIVE": "use OLLAMA_KEEP_ALIVE",
    "NUM_PARALLEL": "use OLLAMA_NUM_PARALLEL",
    "MAX_LOADED_MODELS": "use OLLAMA_MAX_LOADED_MODELS",
    "CONTEXT_LENGTH": "use OLLAMA_CONTEXT_LENGTH",
}
CERTAIN_IN_DOTENV = frozenset(
    {
        "OLLAMA_MAX_VRAM", "OLLAMA_GPU_LAYERS", "OLLAMA_NUM_GPU", "OLLAMA_NUM_GPU_LAYERS", "OLLAMA_VRAM_LIMIT",
        "OLLAMA_GPU_MEMORY_FRACTION", "OLLAMA_GPU_MEMORY_UTILIZATION", "OLLAMA_GPU_MEMORY_LIMIT", "OLLAMA_MAX_GPU_MEMORY",
    }
)  # fmt: skip
"""A .env file may be some other program's: only what people believe of Ollama is reported there."""
OWN_NAMES = frozenset({"OLLAMA_MODEL", "OLLAMA_HOSTS", "OLLAMA_API_KEYS", "OLLAMA_REMOTE"})
"""Names that scripts give to their own settings, and that only look like a server's."""
SERVER_ONLY = frozenset(
    {
        "OLLAMA_FLASH_ATTENTION", "OLLAMA_GPU_OVERHEAD", "OLLAMA_KV_CACHE_TYPE", "OLLAMA_MAX_LOADED_MODELS", "OLLAMA_MAX_QUEUE",
        "OLLAMA_NUM_PARALLEL", "OLLAMA_SCHED_SPREAD",
    }
)  # fmt: skip
"""No client has a use for these: where they are set, a server runs."""
_KNOB = re.compile(
    r"OLLAMA_(?:\w+_)?(?:GPUS?|VRAM|CUDA|MEMORY|MEM|RAM|THREADS?|BATCH|CTX|CONTEXT|LAYERS|NUMA|MMAP|MLOCK|CACHE|CONCURREN\w*|TENSOR|PIPELINE|"
    r"F16|QUANT\w*|SEED|OFFLOAD|PREFILL|DECODE|SWAP|TOKENS|COMPUTE)(?:_\w+)?"
)
"""A name that speaks of how a server runs; OLLAMA_MODEL or OLLAMA_URL may be some script's."""


def what_there_is_instead(name: str) -> str | None:
    """A clause for a variable of an Ollama server that nothing reads; None where it may be read."""
    if name in READ:
        return None
    if name in INSTEAD or name in WITHOUT_PREFIX:
        return INSTEAD.get(name) or WITHOUT_PREFIX[name]
    return "`ollama serve --help` lists what is read" if _KNOB.fullmatch(name) else None
