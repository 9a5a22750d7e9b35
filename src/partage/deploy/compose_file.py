"""A compose project: the services of one or several files, merged as Compose merges them, each value with its place.

Only files that were named are read: not `env_file`, not `include`, not the file of an `extends`. A service that leans on
one of those is marked incomplete, and rules about what is missing leave it alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping as Values
from collections.abc import Sequence as Many
from dataclasses import dataclass, field
from functools import cached_property

from partage.deploy.engines import OLLAMA, ServerKind, server_kind
from partage.deploy.gpu_access import (
    DeviceRequest,
    Gpus,
    cdi_devices,
    device_requests,
    left_visible,
    together,
    visible_gpus,
)
from partage.deploy.source import Place
from partage.deploy.variables import Variable, interpolate, variables_of
from partage.deploy.yaml_tree import Entry, Mapping, Node, Scalar, Sequence, at, items_of, mapping_at, scalars_of

_REPLACED = frozenset({"command", "entrypoint", "test"})
_NAMED_LISTS = frozenset({"environment", "labels", "args", "sysctls", "annotations"})
_PARALLEL_OTHERWISE = re.compile(
    r"(?:--(?:data|pipeline)[-_]parallel[-_]size|--?[dp]p(?:[-_]size)?)(?=[ =])(?![ =]+1\b)"
)
"""Over several GPUs, and not by tensors."""


@dataclass(frozen=True, eq=False)
class Service:
    name: str
    key: Scalar
    node: Mapping
    values: Values[str, str] = field(repr=False)
    complete: bool = True

    def get(self, *path: str) -> Node | None:
        return at(self.node, *path)

    def text(self, node: Node | None) -> str:
        """A scalar with its variables filled in; "" for anything else."""
        return interpolate(node.text, self.values) if isinstance(node, Scalar) else ""

    @cached_property
    def image(self) -> str:
        return self.text(self.get("image"))

    @cached_property
    def server(self) -> ServerKind | None:
        return server_kind(self.image)

    @cached_property
    def variables(self) -> dict[str, Variable]:
        return {variable.name: variable for variable in variables_of(self.get("environment"), self.values)}

    @cached_property
    def requests(self) -> tuple[DeviceRequest, ...]:
        return tuple(device_requests(self.node, self.text))

    @cached_property
    def words(self) -> tuple[Scalar, ...]:
        """Entrypoint and command."""
        return scalars_of(self.get("entrypoint")) + scalars_of(self.get("command"))

    @cached_property
    def command_line(self) -> str:
        return " ".join(self.text(word) for word in self.words)

    @property
    def runs_script_of_its_own(self) -> bool:
        """Its environment may be read by something that this file does not show."""
        return self.get("build") is not None or re.search(r"\.(?:sh|py)\b", self.command_line) is not None

    @property
    def spread_over(self) -> str:
        """The number of GPUs that the engine spreads a model over; "" where the file does not say."""
        server = self.server
        if server is None or server.parallel_flag is None or _PARALLEL_OTHERWISE.search(self.command_line):
            return ""
        match = server.parallel_flag.search(self.command_line)
        variable = self.variables.get(server.parallel_variable)
        return match[1].strip("\"'") if match else variable.value if variable else server.parallel_default

    @property
    def calls_itself_ollama(self) -> bool:
        """Ollama's image, somebody's build of it, or a service of that name that is built here."""
        if self.server is OLLAMA:
            return True
        name = self.image.partition("@")[0].rpartition("/")[2].partition(":")[0]
        return name == "ollama" or (self.get("build") is not None and self.name == "ollama")

    @property
    def runtime(self) -> str:
        return self.text(self.get("runtime"))

    @cached_property
    def gpus(self) -> Gpus:
        """The NVIDIA GPUs it sees; an empty set where it has none."""
        given: list[Gpus] = [request.gpus for request in self.requests if request.is_for_nvidia]
        if isinstance(short := self.get("gpus"), Scalar):
            given.append("all" if self.text(short) == "all" else None)
        if self.runtime == "nvidia" and not given:
            variable = self.variables.get("NVIDIA_VISIBLE_DEVICES")
            by_image = variable is None and self.server is not None and self.get("env_file") is None
            given.append("all" if by_image else visible_gpus(variable))  # the images of engines say `all`
        if cdi_devices(self.get("devices")):
            given.append(None)
        return together(given)

    @cached_property
    def used_gpus(self) -> Gpus:
        """Those that CUDA_VISIBLE_DEVICES leaves of them, counted as the host counts."""
        variable = self.variables.get("CUDA_VISIBLE_DEVICES")
        if variable is None or not self.gpus:
            return self.gpus
        ordered = [one for request in self.requests for one in request.device_ids] or None
        return left_visible(variable, self.gpus, ordered)

    @property
    def has_gpu(self) -> bool:
        return self.gpus is None or bool(self.gpus)

    @cached_property
    def profiles(self) -> frozenset[str]:
        return frozenset(self.text(item) for item in scalars_of(self.get("profiles")))

    @property
    def only_fetches(self) -> bool:
        """Pulls models and ends: it loads nothing."""
        return "pull" in self.command_line and "serve" not in self.command_line

    def runs_beside(self, other: Service) -> bool:
        """Not alternatives of each other: no disjoint profiles, no shared container name or published port."""
        if self.profiles and other.profiles and not self.profiles & other.profiles:
            return False
        name = self.text(self.get("container_name"))
        if name and name == self.text(other.get("container_name")):
            return False
        return not _published(self) & _published(other)


@dataclass(frozen=True, eq=False)
class Project:
    services: dict[str, Service]
    place: Place
    root: Mapping

    def service_of(self, name: str) -> Service | None:
        return self.services.get(name)


def project_of(documents: Many[Node | None], values: Values[str, str]) -> Project | None:
    """Merge documents in order, the later over the earlier. None where none of them has services."""
    merged: Mapping | None = None
    for document in documents:
        if isinstance(document, Mapping):
            whole = _services_at_top(document)
            merged = whole if merged is None else _merged_mappings(merged, whole)
    services = mapping_at(merged, "services")
    if merged is None or services is None:
        return None
    found: dict[str, Service] = {}
    for name, entry in services.entries.items():
        if isinstance(entry.value, Mapping):
            node, complete = _extended(entry.value, services, 0)
            complete = complete and bool({"image", "build"} & node.entries.keys())
            found[name] = Service(name, entry.key, node, values, complete)
    return Project(found, services.place, merged)


def _services_at_top(document: Mapping) -> Mapping:
    """Files of the first format have their services at the top."""
    if "services" in document.entries:
        return document
    looks_old = [entry for entry in document.entries.values() if mapping_at(entry.value, "image") or _runs(entry.value)]
    if not looks_old or "version" in document.entries:
        return document
    key = Scalar("services", document.place)
    return Mapping({"services": Entry(key, document)}, document.place)


def _runs(node: Node) -> bool:
    return isinstance(node, Mapping) and bool({"image", "build"} & node.entries.keys())


def _extended(node: Mapping, services: Mapping, depth: int) -> tuple[Mapping, bool]:
    """With what `extends` brings in from the same file; the flag is false where it points elsewhere."""
    extends = node.get("extends")
    if extends is None:
        return node, True
    name = extends if isinstance(extends, Scalar) else at(extends, "service")
    base = services.get(name.text) if isinstance(name, Scalar) else None
    if at(extends, "file") is not None or not isinstance(base, Mapping) or base is node or depth > 8:
        return node, False
    whole, complete = _extended(base, services, depth + 1)
    return _merged_mappings(whole, node), complete


def _merged_mappings(base: Mapping, over: Mapping) -> Mapping:
    entries = dict(base.entries)
    for key, entry in over.entries.items():
        below = entries.get(key)
        if entry.value.tag.endswith("!reset"):
            entries.pop(key, None)
        elif below is None or entry.value.tag.endswith("!override"):
            entries[key] = entry
        else:
            entries[key] = Entry(entry.key, _merged(key, below.value, entry.value))
    return Mapping(entries, over.place)


def _merged(key: str, base: Node, over: Node) -> Node:
    if key in _NAMED_LISTS:
        base, over = _as_mapping(base), _as_mapping(over)
    if isinstance(base, Mapping) and isinstance(over, Mapping):
        return _merged_mappings(base, over)
    if isinstance(base, Sequence) and isinstance(over, Sequence) and key not in _REPLACED:
        return Sequence(base.items + over.items, over.place)
    return over


def _as_mapping(node: Node) -> Node:
    """`NAME=value` entries as a mapping, so that a later file replaces one of them."""
    if not isinstance(node, Sequence):
        return node
    entries: dict[str, Entry] = {}
    for item in node.items:
        if isinstance(item, Scalar):
            name, _, value = item.text.partition("=")
            start = item.place.start + item.place.text.find("=") + 1
            place = Place(item.place.source, item.place.line, item.place.column, start, item.place.end)
            entries[name] = Entry(Scalar(name, item.place), Scalar(value, place))
    return Mapping(entries, node.place)


@dataclass(frozen=True, slots=True)
class Port:
    host_ip: str
    published: str
    target: str
    place: Place


def ports_of(service: Service) -> tuple[Port, ...]:
    """`ports:` in either syntax."""
    return tuple(port for item in items_of(service.get("ports")) if (port := _port(service, item)) is not None)


def _port(service: Service, item: Node) -> Port | None:
    if isinstance(item, Mapping):
        published = service.text(item.get("published"))
        return Port(service.text(item.get("host_ip")), published, service.text(item.get("target")), item.place)
    if not isinstance(item, Scalar):
        return None
    text = service.text(item).split("/")[0]
    front, _, target = text.rpartition(":")
    host_ip, _, published = front.rpartition(":")
    return Port(host_ip.strip("[]"), published, target, item.place)


def _published(service: Service) -> set[str]:
    return {port.published for port in ports_of(service) if port.published.isdigit()}
