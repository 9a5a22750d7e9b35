"""`partage compose`: the files of a stack for a machine, the same bytes for the same machine and words."""

from __future__ import annotations

import difflib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeAlias, get_args

from partage.deploy.plan import Plan, Terms, alone, plan
from partage.deploy.stack_config import (
    DASHBOARDS_YML,
    DATASOURCE_YML,
    PROMETHEUS_YML,
    client_yaml,
    dotenv,
    hub_yaml,
    shipped,
)
from partage.deploy.stack_services import Parts, compose_text
from partage.deploy.wanted import Wanted
from partage.domain import Device, DeviceId
from partage.errors import InvalidRequest
from partage.quantities import format_bytes

Profile: TypeAlias = Literal["cpu", "low-vram", "single-gpu", "multi-gpu", "mps", "with-ollama", "observability"]
PROFILES: tuple[Profile, ...] = get_args(Profile)
MACHINES: tuple[Profile, ...] = ("cpu", "low-vram", "single-gpu", "multi-gpu", "with-ollama")
"""One of these says where the models run; the others are added to it."""
LOW_VRAM_BYTES = 8 << 30
DEFAULT_MODELS = ("llama3.2", "llava:7b", "nomic-embed-text")

_TERMS = (
    Terms(),
    Terms(slots=2),
    Terms(slots=2, kv_type="q8_0"),
    Terms(slots=1, kv_type="q8_0"),
    Terms(context_tokens=2048, slots=1, kv_type="q8_0"),
)
"""From what is best to what is small: the first with which everything fits on the GPUs."""


@dataclass(frozen=True, slots=True)
class Stack:
    files: dict[str, str]
    """Path below the project's directory -> text."""
    secrets: tuple[str, ...]
    """Made once, never compared."""
    plan: Plan


def choose_profiles(words: Sequence[str], devices: Sequence[Device]) -> tuple[Profile, ...]:
    """The profiles that were named, with one for the machine. Raises InvalidRequest."""
    named = [profile for profile in PROFILES if profile in words]
    if unknown := [word for word in words if word not in PROFILES]:
        raise InvalidRequest(f"there is no profile {unknown[0]}; there are {', '.join(PROFILES)}")
    machines = [profile for profile in named if profile in MACHINES]
    if len(machines) > 1:
        raise InvalidRequest(f"{machines[0]} and {machines[1]} exclude each other")
    gpus = [device for device in devices if device.kind == "cuda"]
    if not machines:
        named.insert(0, _fitting(gpus))
    if not gpus and {"low-vram", "single-gpu", "multi-gpu", "mps"} & set(named):
        raise InvalidRequest("there is no GPU here; describe one, as in --gpus 1x8GiB, or choose the profile cpu")
    if "multi-gpu" in named and len(gpus) < 2:
        raise InvalidRequest("multi-gpu needs two GPUs; describe them, as in --gpus 2x24GiB")
    if "mps" in named and {"cpu", "with-ollama"} & set(named):
        raise InvalidRequest("mps is for a hub with a GPU of its own")
    return tuple(profile for profile in PROFILES if profile in named)


def _fitting(gpus: Sequence[Device]) -> Profile:
    if not gpus:
        return "cpu"
    if len(gpus) > 1:
        return "multi-gpu"
    return "low-vram" if gpus[0].total_bytes < LOW_VRAM_BYTES else "single-gpu"


def make_stack(
    profiles: Sequence[Profile],
    devices: Sequence[Device],
    models: Sequence[Wanted],
    *,
    docker_gid: int | None = None,
    pinned: Mapping[str, tuple[DeviceId, ...]] = MappingProxyType({}),
) -> Stack:
    """`docker_gid`: the group that may use Docker's socket; None: the hub does not get the socket.

    `pinned`: model -> its GPUs, where the configuration says so.
    """
    used = _used_devices(profiles, devices)
    made = best_plan(models, used, pinned)
    gpus = [device for device in used if device.kind == "cuda"]
    with_ollama = "with-ollama" in profiles
    variables = [f"PARTAGE_GPU_{index}" for index in range(len(gpus))]
    sizes = " + ".join(format_bytes(gpu.total_bytes) for gpu in gpus) or "no GPU"
    summary = f"Profiles: {', '.join(profiles)}. Planned for: {sizes}."
    parts = Parts(
        words=" ".join(profiles),
        summary=summary,
        gpu_variables=variables,
        docker=docker_gid is not None,
        mps="mps" in profiles,
        ollama=with_ollama,
        observability="observability" in profiles,
    )
    files = {
        "compose.yaml": compose_text(parts),
        ".env": dotenv(
            image="partage:cuda" if gpus else "partage:cpu",
            gpus=[_gpu_line(variable, gpu) for variable, gpu in zip(variables, gpus, strict=True)],
            mps_memory=f"0={int(gpus[0].budget_bytes * 0.75) >> 20}M" if parts.mps else "",
            ollama=with_ollama,
            observability=parts.observability,
            docker_gid=docker_gid,
        ),
        "config/hub.yaml": hub_yaml(made, remote_models=[model.name for model in models] if with_ollama else ()),
        "config/documents.yaml": client_yaml("documents"),
        "config/rag.yaml": client_yaml("rag"),
        "config/dashboard.yaml": client_yaml("admin"),
    }
    keys = ["health_key", "documents_key", "rag_key", "chat_key", "admin_key"]
    if parts.observability:
        keys.append("grafana_password")
        files |= {
            "config/prometheus.yml": PROMETHEUS_YML,
            "config/alerts.yml": shipped("partage.rules.yml"),
            "config/grafana/datasources/prometheus.yml": DATASOURCE_YML,
            "config/grafana/dashboards/partage.yml": DASHBOARDS_YML,
            "config/grafana/dashboards/partage.json": shipped("grafana.json"),
        }
    return Stack(files, tuple(keys), made)


def _used_devices(profiles: Sequence[Profile], devices: Sequence[Device]) -> list[Device]:
    gpus = [device for device in devices if device.kind == "cuda"]
    hosts = [device for device in devices if device.kind == "host"]
    if {"cpu", "with-ollama"} & set(profiles):
        gpus = []
    elif {"low-vram", "single-gpu"} & set(profiles):
        gpus = sorted(gpus, key=lambda gpu: (-gpu.budget_bytes, gpu.index))[:1]
    return [*gpus, *hosts]


def best_plan(
    models: Sequence[Wanted],
    devices: Sequence[Device],
    pinned: Mapping[str, tuple[DeviceId, ...]] = MappingProxyType({}),
) -> Plan:
    """The most generous terms with which all fit together; where none does, with which each fits in its turn."""
    there = {device.id for device in devices}
    gpus = {name: ids for name, ids in pinned.items() if there.issuperset(ids)}
    candidates = [plan(models, devices, replace(terms, gpus=gpus)) for terms in _TERMS]
    together = next((made for made in candidates if made.as_wished), None)
    in_turn = (made for made in candidates if all(alone(made, model).as_wished for model in models))
    return together or next(in_turn, candidates[-1])


def _gpu_line(variable: str, gpu: Device) -> tuple[str, str, str]:
    described = gpu.id.startswith("gpu")
    about = f"{gpu.name}, {format_bytes(gpu.total_bytes)}"
    return (
        variable,
        str(gpu.index) if described else gpu.id,
        f"{about}{': put its UUID here, from nvidia-smi -L' if described else ''}",
    )


def differences(stack: Stack, folder: Path) -> list[str]:
    """Unified diffs from the files that are there to those that would be written; empty where they agree."""
    found: list[str] = []
    for name, text in stack.files.items():
        try:
            there = (folder / name).read_text(encoding="utf-8")
        except OSError:
            there = ""
        lines = difflib.unified_diff(
            there.splitlines(), text.splitlines(), name, f"{name} (would be written)", lineterm=""
        )
        found += lines
    return found


def overwritten(stack: Stack, folder: Path) -> list[str]:
    """The files that are there and say something else."""
    return [
        name
        for name, text in stack.files.items()
        if (folder / name).exists() and (folder / name).read_text(encoding="utf-8") != text
    ]


def write_stack(stack: Stack, folder: Path) -> list[str]:
    """The names of the files written. Secrets that are there are kept."""
    written: list[str] = []
    for name, text in stack.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.append(name)
    private = folder / "secrets"
    private.mkdir(mode=0o700, exist_ok=True)
    private.chmod(0o700)
    for name in stack.secrets:
        path = private / name
        if not path.exists():
            path.write_text(secrets.token_urlsafe(24) + "\n", encoding="utf-8")
            # The directory keeps people out; the container's user, who is nobody here, must read the file.
            path.chmod(0o444)
            written.append(f"secrets/{name}")
    return written
