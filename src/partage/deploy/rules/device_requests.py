"""Rules on device requests: deploy.resources.reservations.devices and what is written around it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from partage.deploy.compose_file import Project, Service
from partage.deploy.findings import Fix, Flaw, rule
from partage.deploy.gpu_access import REQUEST_KEYS, DeviceRequest, is_cdi_name
from partage.deploy.source import Edit, Place
from partage.deploy.variables import UNKNOWN
from partage.deploy.yaml_tree import Mapping, Scalar, Sequence, mapping_at, scalars_of


@rule(
    "PG010",
    "capabilities-missing",
    on=Service,
    cure="add `capabilities: [gpu]` to the device request",
    source="Docker docs, Compose: GPU support; docker/docs#12315; moby daemon/devices.go",
    fixable=True,
)
def capabilities_missing(service: Service) -> Iterator[Flaw]:
    """A device request without `capabilities`: the service does not start.

    The daemon needs `capabilities` to find what can serve a request, also where a driver is named. Without the field the
    deployment of the service fails with an error. `driver: cdi` names its devices in full and needs none.
    """
    for request in service.requests:
        if (
            request.short
            or request.driver == "cdi"
            or request.capabilities
            or request.node.get("capabilities") is not None
        ):
            continue
        yield Flaw(request.place, "the device request has no `capabilities`", _added(request, "capabilities: [gpu]"))


@rule(
    "PG011",
    "count-and-device-ids",
    on=Service,
    cure="keep `device_ids` for certain GPUs, or `count` for any",
    source="Docker docs, Compose: GPU support; docker/docs#12315; NVIDIA/nvidia-docker#1026",
)
def count_and_device_ids(service: Service) -> Iterator[Flaw]:
    """`count` and `device_ids` in one request: the daemon refuses both together.

    They are two answers to one question. The daemon says "cannot set both Count and DeviceIDs on device request".
    """
    for request in service.requests:
        count = request.node.key("count")
        if count is not None and request.node.get("device_ids") is not None:
            yield Flaw(count.place, "`count` and `device_ids` exclude each other")


@rule(
    "PG012",
    "all-gpus-by-omission",
    on=Service,
    cure="write `count: all` if that is meant, `count: 1` or `device_ids` otherwise",
    source="Docker docs, Compose: GPU support",
    level="warning",
    fixable=True,
)
def all_gpus_by_omission(service: Service) -> Iterator[Flaw]:
    """A device request with neither `count` nor `device_ids`: the container is given every GPU of the host.

    On a machine with one GPU nothing changes; with a second one the service uses both, and its neighbours with it. The
    fix writes down what is the case. Silent beside NVIDIA_VISIBLE_DEVICES=all, which says it already.
    """
    visible = service.variables.get("NVIDIA_VISIBLE_DEVICES")
    if visible is not None and visible.value == "all":
        return
    for request in service.requests:
        keys = request.node.entries.keys()
        if request.short or {"count", "device_ids"} & keys or not request.is_for_nvidia or not request.capabilities:
            continue
        message = "neither `count` nor `device_ids`: the container is given every GPU"
        yield Flaw(request.place, message, _added(request, "count: all"))


@rule(
    "PG014",
    "invented-device-key",
    on=Service,
    cure="remove it; cap memory in the engine (--gpu-memory-utilization), by MPS, MIG, or a hub that owns the GPU",
    source="Docker docs, Compose Deploy specification: devices (capabilities, driver, count, device_ids, options)",
)
def invented_device_key(service: Service) -> Iterator[Flaw]:
    """A key for GPU memory in a device request: nothing there limits memory.

    A request knows `capabilities`, `driver`, `count`, `device_ids` and `options`, and the NVIDIA driver reads no option
    about memory. Compose refuses the unknown key; an invented option is passed on and read by nobody. The container sees
    all the memory of the GPU.
    """
    for request in service.requests:
        for name, entry in request.node.entries.items():
            if name not in REQUEST_KEYS and not name.startswith("x-"):
                yield Flaw(entry.key.place, f"a device request has no key `{name}`")
        options = mapping_at(request.node, "options")
        for name, entry in options.entries.items() if options and request.is_for_nvidia else ():
            if re.search(r"mem|vram|fraction|percent|limit", name, re.IGNORECASE):
                yield Flaw(entry.key.place, f"no driver reads the option `{name}`: the GPU's memory is not limited")
    for part in ("limits", "reservations"):
        resources = mapping_at(service.node, "deploy", "resources", part)
        for name, entry in resources.entries.items() if resources else ():
            if re.search(r"vram|gpu.?mem", name, re.IGNORECASE) and not name.startswith("x-"):
                yield Flaw(entry.key.place, f"`{part}` has no key `{name}`: Compose cannot limit a GPU's memory")


_BELONGS = {
    "resources": "under `deploy`",
    "reservations": "under `deploy.resources`",
    "limits": "under `deploy.resources`",
    "devices": "under `deploy.resources.reservations`",
    "device_requests": "under `deploy.resources.reservations`, as `devices`",
    "nvidia.com/gpu": "under `deploy.resources.reservations`, as an entry of `devices`",
    "gpus": "directly in the service",
    "capabilities": "in an entry of `deploy.resources.reservations.devices`",
    "device_ids": "in an entry of `deploy.resources.reservations.devices`",
    "memory": "under `deploy.resources.limits`",
    "cpus": "under `deploy.resources.limits`",
}
_NOT_THERE = (
    ((), ("resources", "reservations", "limits", "capabilities", "device_ids", "device_requests")),
    (("deploy",), ("reservations", "limits", "devices", "memory", "cpus", "gpus")),
    (("deploy", "resources"), ("devices", "memory", "cpus", "capabilities", "gpus")),
    (("deploy", "resources", "limits"), ("devices", "capabilities", "nvidia.com/gpu", "gpus")),
    (("deploy", "resources", "reservations"), ("capabilities", "device_ids", "nvidia.com/gpu", "gpus")),
)


@rule(
    "PG015",
    "misplaced-resources",
    on=Service,
    cure="mind the indentation: deploy > resources > limits, and deploy > resources > reservations > devices",
    source="Docker docs, Compose Deploy specification: resources",
)
def misplaced_resources(service: Service) -> Iterator[Flaw]:
    """`limits`, `reservations` or `devices` at the wrong level: Compose refuses the file, or the key does nothing.

    `limits` and `reservations` stand under `deploy.resources`, device requests under `reservations` only. One level of
    indentation too few makes `resources` a service of its own.
    """
    for path, names in _NOT_THERE:
        parent = mapping_at(service.node, *path)
        for name in names if parent else ():
            if parent is not None and (key := parent.key(name)) is not None:
                where = f"under `{'.'.join(path)}`" if path else "directly in a service"
                yield Flaw(key.place, f"`{name}` has no meaning {where}; it belongs {_BELONGS[name]}")
    if (
        service.name in ("resources", "deploy", "reservations")
        and not {"image", "build", "extends"} & service.node.entries.keys()
    ):
        yield Flaw(service.key.place, f"`{service.name}` became a service of its own: it is indented too little")
    reservations = mapping_at(service.node, "deploy", "resources", "reservations")
    devices = reservations.entries.get("devices") if reservations else None
    if devices is not None and isinstance(devices.value, Mapping):
        yield Flaw(devices.key.place, "`devices` is a list: its entry begins with `- `")


@rule(
    "PG016",
    "part-of-a-gpu",
    on=Service,
    cure="ask for whole GPUs; divide one with MIG, MPS, or a hub",
    source="Docker docs, Compose: GPU support (count is an integer or all)",
)
def part_of_a_gpu(service: Service) -> Iterator[Flaw]:
    """`count: 0.5`: a request gives whole GPUs or none.

    `count` is a whole number or `all`. Docker exposes devices; it does not divide them, neither their time nor their
    memory.
    """
    for request in service.requests:
        count = request.node.get("count")
        text = service.text(count)
        if count is not None and text and UNKNOWN not in text and not re.fullmatch(r"-?\d+|all", text, re.IGNORECASE):
            yield Flaw(count.place, f"`count: {text}` is neither a whole number nor `all`")


@rule(
    "PG017",
    "device-ids-not-strings",
    on=Service,
    cure='quote them, in a list: `device_ids: ["0"]`',
    source="Docker docs, Compose: GPU support (device_ids is a list of strings)",
    fixable=True,
)
def device_ids_not_strings(service: Service) -> Iterator[Flaw]:
    """Numbers in `device_ids`, or no list: Compose refuses the file.

    `device_ids: [0]` ends in "device_ids.0 must be a string", `device_ids: "0"` in "must be a list".
    """
    for request in service.requests:
        node = request.node.get("device_ids")
        if isinstance(node, Scalar):
            if "$" not in node.text:
                listed = ", ".join(f'"{part.strip()}"' for part in node.text.split(","))
                yield Flaw(node.place, "`device_ids` is not a list", Fix((_replaced(node.place, f"[{listed}]"),)))
            continue
        for item in scalars_of(node):
            if item.plain and item.text.isdigit():
                yield Flaw(item.place, "a device id is a string", Fix((_replaced(item.place, f'"{item.text}"'),)))


@rule(
    "PG018",
    "capabilities-not-a-list",
    on=Service,
    cure="write `capabilities: [gpu]`",
    source="Docker docs, Compose: GPU support (capabilities is a list of strings)",
    fixable=True,
)
def capabilities_not_a_list(service: Service) -> Iterator[Flaw]:
    """`capabilities: gpu`, or a list in a list: Compose refuses the file.

    The nested list `[[gpu]]` is how the daemon's error message writes it ("with capabilities: [[gpu]]"), not how a file does.
    """
    for request in service.requests:
        node = request.node.get("capabilities")
        if isinstance(node, Scalar) and node.text and "$" not in node.text:
            listed = ", ".join(part.strip() for part in node.text.split(","))
            yield Flaw(node.place, "`capabilities` is not a list", Fix((_replaced(node.place, f"[{listed}]"),)))
        elif isinstance(node, Sequence) and any(isinstance(item, Sequence) for item in node.items):
            names = [inner.text for item in node.items for inner in scalars_of(item)]
            fix = Fix((_replaced(node.place, f"[{', '.join(names)}]"),)) if node.flow else None
            yield Flaw(node.place, "`capabilities` is a list in a list", fix)


_RESERVED = re.compile(
    r"exclusiv|\b(?:reserv|limit|alloc|restrict|cap\b|share)\w*\W+(?:\w+\W+){0,4}?(?:\d+ ?(?:(?:GB|GiB|G|MB|MiB)\b|%)|VRAM|GPU memory)",
    re.IGNORECASE,
)


@rule(
    "PG019",
    "exposure-taken-for-reservation",
    on=Service,
    cure="let one program own the GPU's memory: one engine, or a hub in front of several",
    source="Docker docs, Compose: GPU support; Docker docs, Deploy specification: devices",
    level="warning",
)
def exposure_taken_for_reservation(service: Service) -> Iterator[Flaw]:
    """A comment says that a device request reserves a GPU or a part of its memory. It only exposes the device.

    In spite of the key's name `reservations`, every container with the GPU sees all of its memory and may take all of
    it; two containers may be given the same GPU, and `count: 1` is the same first GPU in each of them.
    """
    for request in service.requests:
        for name in ("count", "device_ids"):
            node = request.node.get(name)
            if node is None:
                continue
            words = node.place.trailing_comment
            if _RESERVED.search(words) and not re.search(r"\b(not|n't|no)\b|n't\b", words):
                yield Flaw(node.place, f"`{name}` exposes GPUs; it reserves neither the GPU nor memory on it")


_NVIDIA_CAPABILITIES = frozenset({"gpu", "nvidia", "compute", "compat32", "graphics", "utility", "video", "display"})


@rule(
    "PG034",
    "unknown-driver",
    on=Service,
    cure="write `driver: nvidia` (or cdi) with `capabilities: [gpu]`, and install the NVIDIA Container Toolkit",
    source="ragflow#9573; basujindal/stable-diffusion#217; moby daemon/nvidia_linux.go (the capabilities that it has)",
)
def unknown_driver(service: Service) -> Iterator[Flaw]:
    """A device driver that Docker does not have, or a capability that none has: "could not select device driver".

    The daemon knows `nvidia` once the NVIDIA Container Toolkit is installed and Docker was restarted, and `cdi`. The
    same message appears for `driver: nvidia` on a host where the toolkit is missing. A driver is chosen only if it has
    every capability that is asked for; `all` is a value of NVIDIA_DRIVER_CAPABILITIES, not one of them.
    """
    for request in service.requests:
        for capability in scalars_of(request.node.get("capabilities")):
            name = service.text(capability)
            if request.driver == "nvidia" and UNKNOWN not in name and name not in _NVIDIA_CAPABILITIES:
                yield Flaw(capability.place, f"the driver nvidia has no capability `{name}`")
        node = request.node.get("driver")
        if request.driver.lower() in ("cuda", "gpu", "nvida", "nvidia-docker", "nvidia-container-runtime") and node:
            yield Flaw(node.place, f"Docker has no device driver `{request.driver}`")


@rule(
    "PG036",
    "swarm-refuses-devices",
    on=Service,
    cure="start it with `docker compose up`, or use generic_resources in a swarm",
    source="docker/cli#3051; docker/compose#8142",
)
def swarm_refuses_devices(service: Service) -> Iterator[Flaw]:
    """Device requests in a service for a swarm: `docker stack deploy` refuses the file.

    "devices not allowed" is what a swarm says to `reservations.devices`; there GPUs are generic resources that the
    daemon's configuration announces. `placement`, `update_config`, `endpoint_mode` and `mode: global` are for swarms only.
    """
    deploy = mapping_at(service.node, "deploy")
    if deploy is None or not any(not request.short for request in service.requests):
        return
    marks = [deploy.key(name) for name in ("placement", "update_config", "rollback_config", "endpoint_mode")]
    if service.text(deploy.get("mode")) == "global":
        marks.append(deploy.key("mode"))
    for key in marks:
        if key is not None:
            yield Flaw(key.place, f"`{key.text}` is for a swarm, and a swarm refuses device requests")
            return


@rule(
    "PG037",
    "cdi-names",
    on=Project,
    cure="write `driver: cdi` with `device_ids: [nvidia.com/gpu=0]`, or `devices: [nvidia.com/gpu=all]`",
    source="agent-cli#259; xorbitsai/inference#3961; moby daemon/nvidia_linux.go; podman-compose, container_to_gpu_res_args",
)
def cdi_names(project: Project) -> Iterator[Flaw]:
    """`driver: cdi` without CDI names: the daemon does not know which devices are meant.

    CDI names a device by vendor, class and name: `nvidia.com/gpu=0`, `nvidia.com/gpu=all`. Where there is only CDI, current
    versions of Docker and podman-compose translate `driver: nvidia` themselves.
    """
    for service in project.services.values():
        for request in service.requests:
            if request.driver == "cdi" and request.node.get("device_ids") is None:
                yield Flaw(request.place, "`driver: cdi` without `device_ids`")
            ids = request.device_ids if request.driver == "cdi" else ()
            if any(not is_cdi_name(one) and UNKNOWN not in one for one in ids):
                node = request.node.entries["device_ids"].value
                yield Flaw(node.place, "not a CDI name, as in nvidia.com/gpu=0")


def _added(request: DeviceRequest, line: str) -> Fix | None:
    """One more key in a request, in its own style."""
    entries = list(request.node.entries.values())
    if not entries:
        return None
    if request.node.flow:
        end = entries[-1].value.place.end
        return Fix((Edit(end, end, f", {line}"),))
    first = entries[0].key.place
    return Fix((Edit(first.start, first.start, f"{line}\n{' ' * (first.column - 1)}"),))


def _replaced(place: Place, text: str) -> Edit:
    return Edit(place.start, place.end, text)


RULES = (
    capabilities_missing, count_and_device_ids, all_gpus_by_omission, invented_device_key, misplaced_resources,
    part_of_a_gpu, device_ids_not_strings, capabilities_not_a_list, exposure_taken_for_reservation, unknown_driver,
    swarm_refuses_devices, cdi_names,
)  # fmt: skip
