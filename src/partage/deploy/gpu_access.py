"""Which GPUs a service is given, by whichever of Compose's ways: device requests, `gpus:`, `runtime: nvidia`, CDI names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from partage.deploy.source import Place
from partage.deploy.variables import UNKNOWN, Variable
from partage.deploy.yaml_tree import Mapping, Node, Scalar, at, items_of, scalars_of

Gpus: TypeAlias = "Literal['all'] | frozenset[str] | None"
"""All of them, these (indices or UUIDs), or None where the file does not say which."""

REQUEST_KEYS = frozenset({"capabilities", "count", "device_ids", "driver", "options"})


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """One entry of deploy.resources.reservations.devices, or of `gpus:`."""

    node: Mapping
    short: bool
    """From `gpus:`, where `capabilities` is understood."""
    text: Callable[[Scalar], str]

    @property
    def place(self) -> Place:
        return self.node.place

    @property
    def driver(self) -> str:
        node = self.node.get("driver")
        return self.text(node) if isinstance(node, Scalar) else ""

    @property
    def capabilities(self) -> tuple[str, ...]:
        return tuple(self.text(item) for item in scalars_of(self.node.get("capabilities")))

    @property
    def device_ids(self) -> tuple[str, ...]:
        return tuple(part for item in scalars_of(self.node.get("device_ids")) for part in self.text(item).split(","))

    @property
    def is_for_nvidia(self) -> bool:
        """Not a TPU, not another vendor's device."""
        if self.driver:
            return self.driver == "nvidia"
        return self.short or not self.capabilities or bool({"gpu", "nvidia"} & set(self.capabilities))

    @property
    def gpus(self) -> Gpus:
        if self.node.get("device_ids") is not None:
            ids = self.device_ids
            return "all" if "all" in ids else None if any(UNKNOWN in one for one in ids) else frozenset(ids)
        count = self.node.get("count")
        if count is None:
            return "all"
        text = self.text(count) if isinstance(count, Scalar) else UNKNOWN
        if text in ("all", "-1"):
            return "all"
        # Docker does not spread: `count: 1` is the first GPU, for every container that says so.
        return frozenset(str(index) for index in range(int(text))) if text.isdigit() and int(text) < 64 else None


def device_requests(node: Mapping, text: Callable[[Scalar], str]) -> Iterator[DeviceRequest]:
    for item in items_of(at(node, "deploy", "resources", "reservations", "devices")):
        if isinstance(item, Mapping):
            yield DeviceRequest(item, short=False, text=text)
    for item in items_of(node.get("gpus")):
        if isinstance(item, Mapping):
            yield DeviceRequest(item, short=True, text=text)


def visible_gpus(variable: Variable | None) -> Gpus:
    """What NVIDIA_VISIBLE_DEVICES gives; an empty set for none."""
    if variable is None or not variable.known:
        return None
    if variable.value in ("", "void", "none"):
        return frozenset()
    return "all" if variable.value == "all" else frozenset(variable.value.split(","))


def left_visible(variable: Variable, given: Gpus, ordered: Sequence[str] | None) -> Gpus:
    """What CUDA_VISIBLE_DEVICES leaves of the GPUs that a container was given; `ordered` where they were given by id."""
    wanted = [part.strip() for part in variable.value.strip("\"'").split(",")]
    if not variable.known or wanted == [""]:
        return frozenset() if variable.known else None
    if not all(part.isdigit() for part in wanted):
        return frozenset(wanted)
    if ordered is None or given == "all":  # `count` gives the first ones, in the host's order
        return frozenset(wanted)
    return frozenset(ordered[int(part)] for part in wanted if int(part) < len(ordered)) or None


def overlap(one: Gpus, other: Gpus) -> bool:
    """True only where it is certain: an index and a UUID may or may not be the same GPU."""
    if not one or not other:
        return False
    if one == "all" or other == "all":
        return True
    return bool(one & other)


def together(sets: list[Gpus]) -> Gpus:
    if not sets:
        return frozenset()
    if "all" in sets:
        return "all"
    known = [one for one in sets if one is not None and one != "all"]
    return frozenset[str]().union(*known) if len(known) == len(sets) else None


def is_cdi_name(text: str) -> bool:
    vendor, slash, rest = text.partition("/")
    return bool(slash) and "." in vendor and "=" in rest


def cdi_devices(devices: Node | None) -> tuple[str, ...]:
    return tuple(item.text for item in scalars_of(devices) if is_cdi_name(item.text))
