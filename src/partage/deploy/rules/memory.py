"""Rules on memory: host RAM taken for GPU memory, and caps that nothing enforces."""

from __future__ import annotations

import re
from collections.abc import Iterator

from partage.deploy.compose_file import Service
from partage.deploy.findings import Flaw, rule
from partage.deploy.subjects import Environment
from partage.deploy.yaml_tree import Scalar
from partage.errors import InvalidRequest
from partage.quantities import parse_bytes

_SAYS_VRAM = re.compile(r"\bv-?ram\b|\bgpu\W+mem|\bgpu ram\b", re.IGNORECASE)
_DENIES = re.compile(r"\b(?:not|no|isn't|never|host|system)\b", re.IGNORECASE)
_LIMITS = re.compile(r"\b(?:limit|max|cap|restrict|alloc|reserv|use at most)", re.IGNORECASE)
SMALL_BYTES = 8 << 30
"""As large as the memory of a small GPU, and too little RAM to bring a 7B model to it."""


@rule(
    "PG020",
    "ram-limit-taken-for-vram",
    on=Service,
    cure="remove the limit, or make it larger than the largest model file; cap GPU memory in the engine or the hub",
    source="Docker docs, Compose Deploy specification: memory; Docker docs, Resource constraints",
)
def ram_limit_taken_for_vram(service: Service) -> Iterator[Flaw]:
    """`limits.memory` or `mem_limit` meant for the GPU: it bounds host RAM.

    The limit is a cgroup's, which knows nothing of a GPU's memory. What it does instead: model files go through RAM on
    their way to the GPU, and a loader that needs more than the limit is killed by the kernel. Reported where a comment
    says VRAM, and for a model server on a GPU whose limit is 8 GiB or less.
    """
    for node in (service.get("deploy", "resources", "limits", "memory"), service.get("mem_limit")):
        if not isinstance(node, Scalar):
            continue
        text = service.text(node)
        said = _means_vram(node)
        small = service.server is not None and service.has_gpu and not service.only_fetches and _is_small(text)
        if said or small:
            yield Flaw(node.place, f"{text} bounds the host RAM of this container, not memory on the GPU")


def _means_vram(node: Scalar) -> bool:
    """By the comment on its line, or one above that speaks of limiting."""
    comment = node.place.comment
    if _SAYS_VRAM.search(comment) is None or _DENIES.search(comment):
        return False
    return _SAYS_VRAM.search(node.place.trailing_comment) is not None or _LIMITS.search(comment) is not None


def _is_small(text: str) -> bool:
    try:
        return 0 < parse_bytes(text) <= SMALL_BYTES
    except InvalidRequest:
        return False


_CAPS_READ_BY_NOTHING = frozenset(
    {
        "NVIDIA_GPU_MEMORY_FRACTION", "NVIDIA_GPU_MEMORY_LIMIT", "NVIDIA_GPU_MEMORY", "NVIDIA_MEMORY_LIMIT", "NVIDIA_MEMORY_FRACTION",
        "NVIDIA_VRAM_LIMIT", "NVIDIA_VRAM", "NVIDIA_MEM_LIMIT", "NVIDIA_VISIBLE_MEMORY", "NVIDIA_MAX_MEMORY", "CUDA_MEMORY_LIMIT",
        "CUDA_MEMORY_FRACTION", "CUDA_MEM_LIMIT", "CUDA_MAX_MEMORY", "CUDA_VRAM_LIMIT", "CUDA_VISIBLE_MEMORY",
    }
)  # fmt: skip
_OWN_CAPS = re.compile(
    r"(?:GPU|VRAM)_?(?:MEMORY|MEM)?_?(?:LIMIT|FRACTION|UTILI[SZ]ATION|PERCENT)|MAX_(?:VRAM|GPU_MEM\w*)"
)


@rule(
    "PG021",
    "vram-variable-nobody-reads",
    on=Environment,
    cure="remove it; use the engine's own option (vLLM: --gpu-memory-utilization), MPS, MIG, or a hub",
    source="NVIDIA Container Toolkit docs, Docker specialized configurations (the variables that are read)",
)
def vram_variable_nobody_reads(environment: Environment) -> Iterator[Flaw]:
    """A variable that should cap GPU memory and that nothing reads.

    Neither Docker nor the NVIDIA Container Toolkit nor CUDA reads NVIDIA_GPU_MEMORY_FRACTION and its like. What there
    is: CUDA_MPS_PINNED_DEVICE_MEM_LIMIT with an MPS daemon, CUDA_DEVICE_MEMORY_LIMIT with HAMi-core preloaded, MIG, and
    the options of engines. What a program built here may read itself (CUDA_MEMORY_FRACTION) is left alone.
    """
    service = environment.service
    words = service.command_line if service else ""
    own_program = service is None or service.runs_script_of_its_own
    for variable in environment.variables:
        if environment.server is not None and variable.name == environment.server.share_variable:
            continue  # text-generation-inference reads CUDA_MEMORY_FRACTION
        invented = variable.name in _CAPS_READ_BY_NOTHING and not (own_program and variable.name.startswith("CUDA_"))
        of_an_engine = environment.server is not None and _OWN_CAPS.fullmatch(variable.name) is not None
        if (invented or of_an_engine) and variable.name not in words:
            yield Flaw(variable.place, f"nothing reads {variable.name}: the GPU's memory is not limited")


@rule(
    "PG022",
    "cap-without-its-daemon",
    on=Service,
    cure="run the MPS daemon and share its pipe directory; for HAMi-core preload its library",
    source="NVIDIA MPS docs, Environment variables; AWS ECS docs, NvidiaMpsAllocation; HAMi-core README",
)
def cap_without_its_daemon(service: Service) -> Iterator[Flaw]:
    """A memory cap of MPS or HAMi-core in a container that cannot reach what enforces it.

    CUDA_MPS_PINNED_DEVICE_MEM_LIMIT and CUDA_MPS_ACTIVE_THREAD_PERCENTAGE are obeyed by clients of an MPS daemon: the
    container needs its pipe directory (CUDA_MPS_PIPE_DIRECTORY, or /tmp/nvidia-mps) and the daemon's IPC namespace.
    CUDA_DEVICE_MEMORY_LIMIT is obeyed by HAMi-core's library, which must be preloaded.
    """
    if not service.complete:
        return
    variables = service.variables
    node = service.get("volumes")
    volumes = node.place.text if node is not None else ""  # short and long syntax alike
    mps = (
        "CUDA_MPS_PIPE_DIRECTORY" in variables
        or "mps" in volumes
        or service.get("volumes_from") is not None
        or "mps" in service.command_line
    )
    for name in ("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"):
        if name in variables and not mps:
            yield Flaw(variables[name].place, f"{name} has no effect without an MPS daemon in reach")
    if "LD_PRELOAD" in variables or "ld.so.preload" in volumes or "vgpu" in volumes:
        return
    for name, variable in variables.items():
        if re.fullmatch(r"CUDA_DEVICE_MEMORY_LIMIT(?:_\d+)?", name):  # of all GPUs, or of one
            yield Flaw(variable.place, f"{name} has no effect without HAMi-core's library preloaded")


RULES = (ram_limit_taken_for_vram, vram_variable_nobody_reads, cap_without_its_daemon)
