"""Rules on several services that use one GPU."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations

from partage.deploy.compose_file import Project, Service
from partage.deploy.engines import SGLANG, VLLM, ServerKind
from partage.deploy.findings import Flaw, rule
from partage.deploy.gpu_access import Gpus, overlap
from partage.deploy.variables import UNKNOWN
from partage.deploy.yaml_tree import Scalar, scalars_of

MOST_BESIDE_ANOTHER = 0.85
"""What an engine that loads on demand finds beside a greedier one is too little for any model of use."""
_VALUE_UNKNOWN = re.compile(rf"--(?!extra|args|opt)[\w-]+[ =]{UNKNOWN}(?=\s|$)")
"""The value of some other option, as in `--api-key ${KEY}`: it hides nothing."""


@rule(
    "PG040",
    "engines-claim-more-than-the-gpu",
    on=Project,
    cure="give each engine its part (the parts together below 1), or put a hub in front",
    source="vllm#20305; vllm#14376; vLLM docs, Engine arguments: gpu_memory_utilization",
)
def engines_claim_more_than_the_gpu(project: Project) -> Iterator[Flaw]:
    """Engines that each take a fixed part of the same GPU's memory, together more than there is.

    vLLM takes 92 % by default, SGLang 88 %, text-generation-inference all that is free. The second to start says "free
    memory on device ... is less than desired GPU memory utilization", or the first one to grow runs out of memory. The
    parts are of the whole GPU, not of what is left. CUDA_VISIBLE_DEVICES and `--tensor-parallel-size` say which GPUs an
    engine uses; one that can sleep (`--enable-sleep-mode`) is left alone.
    """
    for one, other in _neighbours(project):
        first, second = _share(one), _share(other)
        for neighbour, greedy, taken in ((one, other, second), (other, one, first)):
            on_demand = neighbour.server is not None and neighbour.server.loads_on_demand
            if on_demand and taken is not None and taken[0] > MOST_BESIDE_ANOTHER:
                message = (
                    f"`{greedy.name}` takes {taken[0]:.0%} of the GPU's memory: nothing is left for `{neighbour.name}`"
                )
                yield Flaw(taken[1].place, message)
        if first is None or second is None:
            continue
        (share, _), (other_share, place) = first, second
        if share + other_share > 1.0 + 1e-9:
            message = f"`{other.name}` takes {other_share:.0%} and `{one.name}` {share:.0%} of the same GPU's memory"
            yield Flaw(place.place, message)


@rule(
    "PG041",
    "one-engine-per-service",
    on=Project,
    cure="let the services share one engine, or put a hub in front: it knows what is loaded and who waits",
    source="ollama#13235; ollama#11997; ollama#17408; Ollama server/sched.go (free memory is read when a model is loaded)",
    level="warning",
)
def one_engine_per_service(project: Project) -> Iterator[Flaw]:
    """Several engine containers on one GPU, each believing that its memory is free for itself.

    Ollama decides at load time, from the memory that is free at that moment. What another container
    loads afterwards they do not see: models spill to the CPU, or a load ends in an out-of-memory error. One engine
    serves any number of services; two of them serve none well.
    """
    reported: set[str] = set()
    for one, other in _neighbours(project):
        both = one.server and other.server and one.server.loads_on_demand and other.server.loads_on_demand
        if both and other.name not in reported:
            reported.add(other.name)
            place = other.node.entries["image"].value.place
            yield Flaw(
                place, f"`{one.name}` and `{other.name}` load models on the same GPU without knowing of each other"
            )


def _neighbours(project: Project) -> Iterator[tuple[Service, Service]]:
    """Pairs of model servers that run at the same time on a GPU that is certainly the same."""
    servers = [
        service
        for service in project.services.values()
        if service.server and service.has_gpu and service.complete and not service.only_fetches
    ]
    for one, other in combinations(servers, 2):
        if overlap(_used(one), _used(other)) and one.runs_beside(other):
            yield one, other


def _used(service: Service) -> Gpus:
    """Of all GPUs, vLLM and SGLang use as many as they spread a model over."""
    gpus = service.used_gpus
    spread = service.spread_over
    if gpus != "all" or service.server not in (VLLM, SGLANG) or not spread:
        return gpus
    return frozenset(str(index) for index in range(int(spread))) if spread.isdigit() and int(spread) < 64 else None


def _share(service: Service) -> tuple[float, Scalar] | None:
    """The part of a GPU that a greedy engine takes, and where that is said (its image, where it is not)."""
    server = service.server
    if server is None or not server.share_flag or "--enable-sleep-mode" in service.command_line:
        return None  # asleep, it has given its memory back
    stated = _stated(service, server)
    if stated is not None:
        return stated
    image = service.get("image")
    rest = _VALUE_UNKNOWN.sub("", service.command_line)
    mentioned = server.share_flag in rest or UNKNOWN in rest or not _runs_server(service)
    return None if mentioned or not isinstance(image, Scalar) else (server.default_share, image)


def _stated(service: Service, server: ServerKind) -> tuple[float, Scalar] | None:
    variable = service.variables.get(server.share_variable)
    if variable is not None and re.fullmatch(r"\d*\.?\d+", variable.value):
        return float(variable.value), Scalar(variable.name, variable.place)
    flag = re.compile(r"--" + re.sub("[-_]", "[-_]", server.share_flag) + r"[ =]+([0-9.]+)")
    match = flag.search(service.command_line)
    if match is None:
        return None
    word = next((word for word in service.words if re.search(r"\b" + match[1], service.text(word))), service.words[0])
    try:
        return float(match[1]), word
    except ValueError:
        return None


def _runs_server(service: Service) -> bool:
    """Not with an entrypoint of its own, which may set anything."""
    return (
        service.get("entrypoint") is None
        and service.get("env_file") is None
        and not any("config" in service.text(word) for word in scalars_of(service.get("command")))
    )


RULES = (engines_claim_more_than_the_gpu, one_engine_per_service)
