"""Rules on the NVIDIA runtime and the variables that choose GPUs and driver parts."""

from __future__ import annotations

from collections.abc import Iterator

from partage.deploy.compose_file import Project, Service
from partage.deploy.engines import is_known_without_cuda
from partage.deploy.findings import Fix, Flaw, rule
from partage.deploy.gpu_access import Gpus, visible_gpus
from partage.deploy.source import Edit, Place
from partage.deploy.variables import UNKNOWN

_DRIVER_PARTS = frozenset({"compute", "compat32", "graphics", "utility", "video", "display", "ngx"})


@rule(
    "PG013",
    "no-utility-capability",
    on=Service,
    cure="add `utility` (nvidia-smi and NVML), as in `compute,utility`",
    source="NVIDIA Container Toolkit docs, Driver capabilities; LocalAI docker-compose.yaml",
    level="warning",
    fixable=True,
)
def no_utility_capability(service: Service) -> Iterator[Flaw]:
    """A model server that gets parts of the driver, but not `utility`: it cannot read how much memory is free.

    `utility` brings nvidia-smi and NVML. As soon as `capabilities` names one part of the driver (compute, video ...), or
    NVIDIA_DRIVER_CAPABILITIES is set, only the parts that are named are mounted. `[gpu]` alone brings compute and
    utility.
    """
    if service.server is None or not service.has_gpu:
        return
    for request in service.requests:
        named = set(request.capabilities) & _DRIVER_PARTS
        node = request.node.get("capabilities")
        if node is not None and named and "utility" not in named:
            yield Flaw(node.place, f"`capabilities` without `utility`: no NVML in {service.server.name}")
    variable = service.variables.get("NVIDIA_DRIVER_CAPABILITIES")
    if variable and variable.known and variable.value:
        parts = {part.strip() for part in variable.value.split(",")}
        if not {"all", "utility"} & parts and parts <= _DRIVER_PARTS:
            end = variable.value_place.end
            fix = Fix((Edit(end, end, ",utility"),)) if _ends_with(variable.value_place, variable.value) else None
            yield Flaw(variable.place, f"{variable.name}={variable.value} without utility: no NVML", fix)


def _ends_with(place: Place, value: str) -> bool:
    return place.source.text[: place.end].endswith(value)


@rule(
    "PG030",
    "runtime-beside-device-request",
    on=Service,
    cure="remove `runtime: nvidia`; the device request is enough",
    source="Docker docs, Compose: GPU support; Zyphra/Zonos#161; emsi/stable-diffusion-webui#1; docker/compose#8722",
    level="warning",
    fixable=True,
    unsafe=True,
)
def runtime_beside_device_request(service: Service) -> Iterator[Flaw]:
    """`runtime: nvidia` beside a device request: not needed, and fails where that runtime is not registered.

    The request (`devices` or `gpus`) works with the NVIDIA Container Toolkit alone. `runtime: nvidia` needs the runtime in the daemon's
    configuration as well (`nvidia-ctk runtime configure`); without it: "unknown or invalid runtime name: nvidia".
    The fix is not a safe one: Jetson boards do need the runtime.
    """
    node = service.get("runtime")
    requested = service.get("gpus") is not None or any(request.is_for_nvidia for request in service.requests)
    if service.runtime != "nvidia" or node is None or not requested:
        return
    key = service.node.entries["runtime"].key.place
    lines = key.source.lines
    start = key.start - (key.column - 1)
    alone = lines[key.line - 1].strip() == key.source.text[key.start : node.place.end] and not service.node.flow
    fix = Fix((Edit(start, start + len(lines[key.line - 1]) + 1, ""),), safe=False) if alone else None
    yield Flaw(node.place, "`runtime: nvidia` beside a device request", fix)


@rule(
    "PG031",
    "runtime-must-be-registered",
    on=Service,
    cure="request the GPU under deploy.resources.reservations.devices, or run `nvidia-ctk runtime configure` on every host",
    source="Zyphra/Zonos#161; emsi/stable-diffusion-webui#1; docker/compose#8722",
    level="warning",
    default=False,
)
def runtime_must_be_registered(service: Service) -> Iterator[Flaw]:
    """`runtime: nvidia` works only on hosts whose daemon has that runtime. Advice: off unless it is selected.

    "Unknown runtime specified nvidia" or "unknown or invalid runtime name: nvidia" is the error elsewhere. A file cannot
    show whether the runtime is registered; a device request needs no such entry.
    """
    node = service.get("runtime")
    if service.runtime == "nvidia" and node is not None and not service.requests:
        yield Flaw(node.place, "`runtime: nvidia` starts only where that runtime is registered with the daemon")


@rule(
    "PG032",
    "runtime-without-visible-devices",
    on=Service,
    cure="set NVIDIA_VISIBLE_DEVICES=all (or a GPU's UUID), or use a device request",
    source="NVIDIA Container Toolkit docs, GPU enumeration",
)
def runtime_without_visible_devices(service: Service) -> Iterator[Flaw]:
    """`runtime: nvidia` in an image that does not set NVIDIA_VISIBLE_DEVICES: the container gets no GPU.

    Unset, empty or `void`, the runtime behaves like runc; `none` brings the driver's libraries without a GPU. The
    default `all` comes with CUDA base images only; python, ubuntu, debian and others do not have it.
    """
    node = service.get("runtime")
    if service.runtime != "nvidia" or node is None or service.requests or service.get("env_file") is not None:
        return
    variable = service.variables.get("NVIDIA_VISIBLE_DEVICES")
    if variable is None and service.complete and is_known_without_cuda(service.image) and service.get("build") is None:
        yield Flaw(node.place, f"{service.image} does not set NVIDIA_VISIBLE_DEVICES: no GPU in the container")
    if variable is not None and variable.known and variable.value in ("", "void", "none"):
        yield Flaw(variable.place, f"NVIDIA_VISIBLE_DEVICES={variable.value} gives no GPU")


@rule(
    "PG033",
    "visible-devices-contradict-request",
    on=Project,
    cure='remove NVIDIA_VISIBLE_DEVICES; the request chooses, as in `device_ids: ["1"]`',
    source="moby daemon/nvidia_linux.go; microsoft/pai#1667; NVIDIA Container Toolkit docs, GPU enumeration",
    level="warning",
)
def visible_devices_contradict_request(project: Project) -> Iterator[Flaw]:
    """NVIDIA_VISIBLE_DEVICES names other GPUs than the device request, or reaches past the neighbours' requests.

    For a device request Docker sets the variable itself, after those of the file: what the file says has no effect.
    NVIDIA_VISIBLE_DEVICES=1 beside `count: all` hides nothing, beside `count: 1` it is still the first GPU. Where
    `nvidia` is the daemon's default runtime, a container that says `all` is given every GPU without any request, also
    those that other services were pinned to. `all` beside a `count` does no harm and is not reported.
    """
    pinned = [
        service
        for service in project.services.values()
        if any(request.node.get("device_ids") is not None for request in service.requests)
    ]
    for service in project.services.values():
        variable = service.variables.get("NVIDIA_VISIBLE_DEVICES")
        seen = visible_gpus(variable)
        if variable is None or not seen:
            continue
        requested = service.gpus
        if service in pinned or (seen != "all" and any(request.is_for_nvidia for request in service.requests)):
            if requested and requested != seen and _comparable(requested, seen):
                said = "all" if requested == "all" else ", ".join(sorted(requested))
                yield Flaw(variable.place, f"NVIDIA_VISIBLE_DEVICES={variable.value}, but the request asks for {said}")
        elif (
            not service.requests
            and pinned
            and seen == "all"
            and service.runtime != "nvidia"
            and service.get("gpus") is None
        ):
            yield Flaw(variable.place, f"no request, yet all GPUs: also those that `{pinned[0].name}` is pinned to")


@rule(
    "PG039",
    "gpus-neither-all-nor-list",
    on=Service,
    cure='write `gpus: all`, or a list: `gpus: [{count: 1}]`, `gpus: [{device_ids: ["0"]}]`',
    source="Compose specification, schema: gpus; compose-spec/compose-go#693; compose-spec/compose-go#732",
)
def gpus_neither_all_nor_list(service: Service) -> Iterator[Flaw]:
    """`gpus: 1` or `gpus: device=0`, as `docker run` takes them: Compose refuses the file.

    The attribute is a list of device requests (Compose 2.30 and newer) or, since 2025, the word `all`.
    """
    node = service.get("gpus")
    text = service.text(node)
    if node is not None and text and text != "all" and UNKNOWN not in text:
        yield Flaw(node.place, f"`gpus: {text}` is neither `all` nor a list")


def _comparable(requested: Gpus, seen: Gpus) -> bool:
    """An index and a UUID may be the same GPU."""
    named = [one for side in (requested, seen) if isinstance(side, frozenset) for one in side]
    return len({one.isdigit() for one in named}) <= 1


@rule(
    "PG035",
    "cuda-index-past-the-container",
    on=Service,
    cure="remove CUDA_VISIBLE_DEVICES, or count from 0: inside the container GPUs are numbered anew",
    source="NVIDIA/nvidia-docker#907; devitocodes/devito#2710; selkies#65; NVIDIA/nvidia-container-toolkit#73",
    fixable=True,
)
def cuda_index_past_the_container(service: Service) -> Iterator[Flaw]:
    """CUDA_VISIBLE_DEVICES=1 in a container that was given one GPU: CUDA finds no device.

    Inside the container the GPUs that were given are numbered from 0, whatever their index on the host. With
    `device_ids: ["1"]` the only valid index is 0. CUDA stops at the first value that is neither an index nor a UUID:
    `all`, which NVIDIA_VISIBLE_DEVICES knows, hides every device here.
    """
    variable = service.variables.get("CUDA_VISIBLE_DEVICES")
    gpus = service.gpus
    if variable and variable.value == "all" and service.has_gpu:
        yield Flaw(variable.place, "CUDA does not know `all`: no device is visible; leave the variable out")
    if variable is None or not isinstance(gpus, frozenset) or not gpus or not variable.known:
        return
    wanted = [part.strip() for part in variable.value.split(",")]
    if not all(part.isdigit() for part in wanted) or all(int(part) < len(gpus) for part in wanted):
        return
    ordered = [one for request in service.requests for one in request.device_ids]
    renumbered = ",".join(str(ordered.index(part)) for part in wanted) if set(wanted) <= set(ordered) else ""
    place = variable.value_place
    exact = place.text.strip("\"'") == variable.value
    shift = 1 if place.text[:1] in "\"'" else 0
    edit = Edit(place.start + shift, place.start + shift + len(variable.value), renumbered)
    yield Flaw(
        variable.place,
        f"CUDA_VISIBLE_DEVICES={variable.value}, but the container has {len(gpus)} GPU(s), numbered from 0",
        Fix((edit,)) if renumbered and exact else None,
    )


RULES = (
    no_utility_capability, runtime_beside_device_request, runtime_must_be_registered, runtime_without_visible_devices,
    visible_devices_contradict_request, cuda_index_past_the_container, gpus_neither_all_nor_list,
)  # fmt: skip
