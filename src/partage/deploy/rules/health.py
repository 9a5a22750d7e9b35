"""Rules on healthchecks, on those who wait for them, and on shared memory."""

from __future__ import annotations

import re
from collections.abc import Iterator

from partage.deploy.compose_file import Project, Service
from partage.deploy.dockerfile import Dockerfile
from partage.deploy.engines import OLLAMA, server_kind
from partage.deploy.findings import Fix, Flaw, rule
from partage.deploy.source import Edit, Place
from partage.deploy.yaml_tree import Mapping, Node, Scalar, Sequence, items_of, mapping_at, scalars_of

_MISSING_TOOL = re.compile(r"(?:^|[\s;&|(\"'])(curl|wget)(?=[\s\"']|$)")
_ASKS_NOBODY = re.compile(r"\bollama\s+(?:--version|-v)(?=\s|$)|\b(?:pidof|pgrep)\s")
_STATIC_PAGE = re.compile(r"https?://[\w.$:{}-]+(?:/api/tags|/api/version|/)?(?=[\s\"'|;)\]]|$)")


def _test(service: Service) -> tuple[Node, str] | None:
    node = service.get("healthcheck", "test")
    if node is None:
        return None
    return node, " ".join(service.text(item) for item in scalars_of(node))


def _missing_tool(service: Service) -> str:
    """Curl or wget in the healthcheck of Ollama's own image, which has neither."""
    test = _test(service)
    if test is None or service.server is not OLLAMA or service.get("build") is not None:
        return ""
    if re.search(r"apt(-get)? |apk ", service.command_line):  # installed when the container starts
        return ""
    found = _MISSING_TOOL.search(test[1])
    return found[1] if found else ""


_WAITS_WITH_TOOL = re.compile(r"\b(?:until|while\s+!)\s[^;\n]{0,200}?(?<![\w/-])(curl|wget)\s")
_WAITS_BY_DEV_TCP = re.compile(r"\b(?:until|while\s+!)\s[^;\n]{0,200}?(/dev/tcp/)")


def _endless_loop(service: Service, waits: re.Pattern[str]) -> tuple[Place, str] | None:
    """Where Ollama's own image waits by what it does not have."""
    if service.server is not OLLAMA or service.get("build") is not None or re.search(r"\bapt", service.command_line):
        return None
    for word in service.words:
        if found := waits.search(service.text(word)):
            return word.place, found[1]
    return None


def _uses_dev_tcp_under_sh(service: Service) -> bool:
    test = _test(service)
    if test is None or "/dev/tcp/" not in test[1] or "bash" in test[1]:
        return False
    first = next(iter(scalars_of(test[0])), None)
    shell_form = isinstance(test[0], Scalar) or (first is not None and first.text == "CMD-SHELL") or "sh -c" in test[1]
    return shell_form and service.get("shell") is None


@rule(
    "PG050",
    "healthcheck-without-curl",
    on=Service,
    cure='use what the image has: test: ["CMD", "ollama", "list"]',
    source="ollama#9781; google/langextract#361; Equibles#722",
    fixable=True,
)
def healthcheck_without_curl(service: Service) -> Iterator[Flaw]:
    """Curl or wget in the healthcheck of ollama/ollama: the image has neither, the container never becomes healthy.

    Whoever waits with `condition: service_healthy` never starts. `ollama list` asks the server the same question. A
    command that waits for the server in a loop around curl or wget (`until curl ...`) never leaves it.
    """
    if waiting := _endless_loop(service, _WAITS_WITH_TOOL):
        yield Flaw(waiting[0], f"the image ollama/ollama has no {waiting[1]}: this loop never ends")
    tool = _missing_tool(service)
    test = _test(service)
    if tool and test:
        node = test[0]
        one_line = "\n" not in node.place.text and not isinstance(node, Mapping)
        safe = isinstance(node, Scalar) or (isinstance(node, Sequence) and node.flow)
        edit = Edit(node.place.start, node.place.end, '["CMD", "ollama", "list"]')
        yield Flaw(
            node.place,
            f"the image ollama/ollama has no {tool}: this check always fails",
            Fix((edit,)) if one_line and safe else None,
        )


@rule(
    "PG055",
    "image-healthcheck-without-curl",
    on=Dockerfile,
    cure='use what the image has: HEALTHCHECK CMD ["ollama", "list"], or install curl',
    source="ollama#9781",
)
def image_healthcheck_without_curl(dockerfile: Dockerfile) -> Iterator[Flaw]:
    """HEALTHCHECK with curl or wget in an image made from ollama/ollama that does not install it."""
    if not dockerfile.bases or server_kind(dockerfile.bases[-1].name) is not OLLAMA:
        return
    for instruction, place in dockerfile.find(_MISSING_TOOL, "HEALTHCHECK"):
        tool = place.text.strip(" \"'")
        if not any(tool in run.place.text for run in dockerfile.instructions if run.name == "RUN"):
            yield Flaw(instruction.place, f"the image ollama/ollama has no {tool}, and nothing here installs it")


@rule(
    "PG056",
    "shell-after-ollamas-entrypoint",
    on=Service,
    cure='set the entrypoint, too: entrypoint: ["/bin/sh", "-c"]; for the server alone, `command: serve` or none',
    source="Ollama Dockerfile (ENTRYPOINT /bin/ollama); Docker docs, Compose services: command, entrypoint",
)
def shell_after_ollamas_entrypoint(service: Service) -> Iterator[Flaw]:
    """A command of ollama/ollama that begins with a shell or with `ollama`: the container stops with "unknown command".

    A command is appended to the image's entrypoint, which is `ollama`: `command: sh -c ...` runs `ollama sh -c ...`.
    """
    command = scalars_of(service.get("command"))
    if service.server is not OLLAMA or not service.complete or service.get("entrypoint") is not None or not command:
        return
    first = service.text(command[0]).split(maxsplit=1)[:1]
    if service.get("build") is None and first and first[0].rpartition("/")[2] in ("sh", "bash", "ollama"):
        yield Flaw(command[0].place, f"the image's entrypoint is `ollama`: this runs `ollama {first[0]} ...`")


@rule(
    "PG051",
    "dev-tcp-needs-bash",
    on=Service,
    cure='say which shell: test: ["CMD", "bash", "-c", "</dev/tcp/localhost/11434"]',
    source="ollama#2695; Dockerfile reference, HEALTHCHECK (CMD-SHELL is /bin/sh)",
)
def dev_tcp_needs_bash(service: Service) -> Iterator[Flaw]:
    """`/dev/tcp/...` in a check that /bin/sh runs: it is a feature of bash, the check always fails.

    CMD-SHELL is /bin/sh, which is dash in Debian and Ubuntu images and busybox in Alpine's: both look for a file of
    that name. The same goes for a loop in the command of ollama/ollama (`until (echo > /dev/tcp/...)`): it never ends.
    """
    waiting = _endless_loop(service, _WAITS_BY_DEV_TCP)
    if waiting and "bash" not in service.command_line:
        yield Flaw(waiting[0], "/dev/tcp is a feature of bash; this loop runs in /bin/sh and never ends")
    if _uses_dev_tcp_under_sh(service) and (test := _test(service)):
        yield Flaw(test[0].place, "/dev/tcp is a feature of bash; this check runs in /bin/sh and always fails")


@rule(
    "PG052",
    "waits-for-a-broken-healthcheck",
    on=Project,
    cure="mend the healthcheck of the service it waits for, or wait for `service_started`",
    source="google/langextract#361; Equibles#722; Docker docs, Control startup order",
)
def waits_for_a_broken_healthcheck(project: Project) -> Iterator[Flaw]:
    """`condition: service_healthy` on a service that never becomes healthy: the dependent never starts.

    Either the check uses what the image does not have, or there is no check at all (the image ollama/ollama brings none).
    """
    for service in project.services.values():
        waits = mapping_at(service.node, "depends_on")
        for name, entry in waits.entries.items() if waits else ():
            condition = mapping_at(entry.value)
            node = condition.get("condition") if condition else None
            target = project.service_of(name)
            if target is None or node is None or service.text(node) != "service_healthy":
                continue
            if _missing_tool(target) or _uses_dev_tcp_under_sh(target):
                yield Flaw(node.place, f"the healthcheck of `{name}` always fails: `{service.name}` never starts")
            elif _has_no_check(target):
                yield Flaw(node.place, f"`{name}` has no healthcheck: `{service.name}` never starts")


def _has_no_check(service: Service) -> bool:
    if service.server is not OLLAMA or not service.complete or service.get("build") is not None:
        return False
    return service.get("healthcheck") is None or service.text(service.get("healthcheck", "disable")) == "true"


@rule(
    "PG053",
    "healthcheck-of-a-static-page",
    on=Service,
    cure="ask for what only a working server can answer: a one-token generation, or size_vram in /api/ps",
    source="ollama#17408; ollama#12323; NVIDIA/nvidia-docker#1730",
    level="warning",
)
def healthcheck_of_a_static_page(service: Service) -> Iterator[Flaw]:
    """The healthcheck of an Ollama on a GPU asks for `/`, `/api/version` or `/api/tags`.

    Those pages, and even more `ollama --version` and `pidof ollama`, stay green when the scheduler hangs (hours of outage in ollama#17408), and when the container has lost
    its GPU and every model runs on the CPU. /api/ps tells how much of a loaded model is in GPU memory; a generation of
    one token tells whether it answers.
    """
    test = _test(service)
    if test is None or not service.has_gpu or _missing_tool(service) or _uses_dev_tcp_under_sh(service):
        return
    for_ollama = service.server is OLLAMA or (service.server is None and ":11434" in test[1])
    asked = re.search(r"/api/ps|\bollama\s+(?:ps|ls|list|run|show)\b", test[1])
    if for_ollama and not asked and (_STATIC_PAGE.search(test[1]) or _ASKS_NOBODY.search(test[1])):
        yield Flaw(test[0].place, "this check stays green when no model can be loaded, and on the CPU")


@rule(
    "PG054",
    "shared-memory-too-small",
    on=Service,
    cure="add `ipc: host`, or `shm_size: 8gb`",
    source="vLLM docs, Using Docker; text-generation-inference docs, A note on shared memory; PyTorch README, Docker image",
    level="warning",
)
def shared_memory_too_small(service: Service) -> Iterator[Flaw]:
    """A PyTorch server with Docker's 64 MiB of /dev/shm.

    vLLM, SGLang and text-generation-inference pass tensors between the processes of several GPUs through shared memory;
    with too little of it they stop with "bus error" or hang. Silent where a model stays on one GPU: the service is given
    no more (`count: 1`), NUM_SHARD=1, or vLLM and SGLang are not told otherwise (`--tensor-parallel-size` is 1 by default).
    """
    if service.server is None or not service.server.needs_shared_memory or not service.complete or not service.has_gpu:
        return
    used = service.used_gpus
    if service.spread_over == "1" or (isinstance(used, frozenset) and len(used) == 1):
        return
    volumes = service.get("volumes")
    mounts = " ".join(node.place.text for node in (volumes, service.get("tmpfs")) if node is not None)
    mounted = "/dev/shm" in mounts  # noqa: S108 looked for, not used
    if service.get("ipc") is None and service.get("shm_size") is None and not mounted:
        image: Place = service.node.entries["image"].value.place
        yield Flaw(image, f"{service.server.name} with 64 MiB of shared memory")


@rule(
    "PG038",
    "gpu-vanishes-on-daemon-reload",
    on=Service,
    cure="pass the device nodes as well, or set the daemon's cgroup driver to cgroupfs (docs/docker.md)",
    source="NVIDIA/nvidia-docker#1730; NVIDIA/nvidia-container-toolkit#1227; Ollama docs, Troubleshooting: Linux Docker",
    level="warning",
    default=False,
)
def gpu_vanishes_on_daemon_reload(service: Service) -> Iterator[Flaw]:
    """A GPU service that will not notice when its GPU goes away. Advice: off unless it is selected.

    With the systemd cgroup driver a `systemctl daemon-reload` on the host takes the GPU from running containers:
    "Failed to initialize NVML: Unknown Error", and the server goes on with the CPU. The daemon setting
    `"exec-opts": ["native.cgroupdriver=cgroupfs"]` or device nodes under `devices:` prevent it; a healthcheck
    that looks at the GPU notices it.
    """
    if service.server is None or not service.has_gpu or not service.complete:
        return
    nodes = [item.text for item in items_of(service.get("devices")) if isinstance(item, Scalar)]
    if service.get("healthcheck") is None and not any("/dev/nvidia" in node or "nvidia.com" in node for node in nodes):
        yield Flaw(service.key.place, "no healthcheck: nobody notices when the GPU vanishes")


RULES = (
    healthcheck_without_curl, image_healthcheck_without_curl, shell_after_ollamas_entrypoint, dev_tcp_needs_bash, waits_for_a_broken_healthcheck,
    healthcheck_of_a_static_page, shared_memory_too_small, gpu_vanishes_on_daemon_reload,
)  # fmt: skip
