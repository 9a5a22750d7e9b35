"""The model servers that people run in containers, recognised by image, with what the rules need to know of each."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerKind:
    name: str
    images: re.Pattern[str]
    loads_on_demand: bool = False
    """Loads and unloads models as requests come, from what it believes is free."""
    share_flag: str = ""
    """The option that says which part of the GPU's memory is taken at start."""
    default_share: float = 0.0
    share_variable: str = ""
    """The variable that says the same."""
    parallel_flag: re.Pattern[str] | None = None
    """The option that says over how many GPUs a model is spread."""
    parallel_variable: str = ""
    parallel_default: str = ""
    """Over how many, where nothing is said; "" for all that it is given."""
    needs_shared_memory: bool = False


def _images(*names: str) -> re.Pattern[str]:
    """Repositories, whatever registry or mirror stands before them."""
    return re.compile(r"(?:^|/)(?:" + "|".join(names) + r")(?::|@|$)")


_TENSOR_PARALLEL = re.compile(r"(?:--tensor[-_]parallel[-_]size|--tp(?:[-_]size)?|-tp)[ =]+(\S+)")

OLLAMA = ServerKind(name="Ollama", images=_images(r"ollama/ollama"), loads_on_demand=True)
VLLM = ServerKind(
    name="vLLM",
    images=_images(r"vllm/vllm-openai", r"vllm-openai"),
    share_flag="gpu-memory-utilization",
    default_share=0.92,
    parallel_flag=_TENSOR_PARALLEL,
    parallel_default="1",
    needs_shared_memory=True,
)
SGLANG = ServerKind(
    name="SGLang",
    images=_images(r"lmsysorg/sglang"),
    share_flag="mem-fraction-static",
    default_share=0.88,
    parallel_flag=_TENSOR_PARALLEL,
    parallel_default="1",
    needs_shared_memory=True,
)
TGI = ServerKind(
    name="text-generation-inference",
    images=_images(r"huggingface/text-generation-inference"),
    share_flag="cuda-memory-fraction",
    share_variable="CUDA_MEMORY_FRACTION",
    default_share=1.0,
    parallel_flag=re.compile(r"--num[-_]shard[ =]+(\S+)"),
    parallel_variable="NUM_SHARD",
    needs_shared_memory=True,
)
LLAMACPP = ServerKind(name="llama.cpp", images=_images(r"(?:ggml-org|ggerganov)/llama\.cpp"))
LOCALAI = ServerKind(name="LocalAI", images=_images(r"localai/localai", r"go-skynet/local-ai"), loads_on_demand=True)
KINDS = (OLLAMA, VLLM, SGLANG, TGI, LLAMACPP, LOCALAI)

_WITHOUT_CUDA = re.compile(
    r"^(?:docker\.io/|library/|lscr\.io/)*(?:python|ubuntu|debian|alpine|node|fedora|rockylinux|linuxserver/plex|plexinc/pms-docker)(?::|@|$)"
)


def server_kind(image: str) -> ServerKind | None:
    return next((kind for kind in KINDS if kind.images.search(image)), None)


def is_known_without_cuda(image: str) -> bool:
    """Images that do not set NVIDIA_VISIBLE_DEVICES themselves, as those built on nvidia/cuda do."""
    return _WITHOUT_CUDA.match(image) is not None
