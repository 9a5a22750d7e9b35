"""Gathers the facts of this machine, once. Whatever cannot be read is left at "not known"; nothing is changed."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeGuard

import aiodocker
import aiohttp
import psutil

from partage import __version__
from partage.clock import unix_s
from partage.config import Config
from partage.device.checkpoint import bindings_installed
from partage.device.mps import daemon_runs
from partage.device.nvml import Nvml
from partage.device.processes import Processes
from partage.doctor.machine import DockerFacts, HubFacts, LeaseFacts, Machine, PortFacts
from partage.doctor.symptoms import SymptomReader, Symptoms
from partage.engine.builds import Build, choose
from partage.errors import ConfigError, StoreError
from partage.journal_format import JournalLine, JournalUnreadable, parse_line
from partage.json_value import JsonObject
from partage.models.store import Store
from partage.watch.readings import Machine as Reader
from partage.watch.readings import Names

NVIDIA_VENDOR = "0x10de"
ASK_S = 5.0
MEASURED_BYTES = 64 << 20
MOST_JOURNAL_BYTES = 32 << 20
TOLD = ("CUDA_", "NVIDIA_", "OLLAMA_")


async def gather(
    config: Config,
    environment: Mapping[str, str],
    *,
    status: JsonObject | None = None,
    alerts: JsonObject | None = None,
    hub_version: str = "",
    root: Path = Path("/"),
) -> Machine:
    """`status` and `alerts` are a running hub's answers, None where none answers."""
    reader = Reader(config.home, nvml=Nvml(), proc=Processes(root / "proc"))
    engines = _engine_pids(status)
    reading = await asyncio.to_thread(reader.read, Names(engines=engines))
    reader.close()
    docker, refused = await _docker(config.hub.docker)
    models = model_files(config.home)
    nodes = tuple(sorted(str(path) for path in (root / "dev").glob("nvidia[0-9]*")))
    return Machine(
        survey=reading.survey,
        pci_gpus=pci_gpus(root),
        driver_loaded=(root / "proc/driver/nvidia/version").exists(),
        device_nodes=nodes,
        refused_nodes=tuple(node for node in nodes if _refused(node)),
        owners=reading.owners,
        mps_daemon=daemon_runs(),
        checkpoint_bindings=bindings_installed(),
        build=await asyncio.to_thread(_build, config) if reading.survey.gpus else None,
        in_container=in_container(root),
        host_pids=reading.host_pids,
        docker=docker,
        docker_socket_refused=refused,
        toolkit=shutil.which("nvidia-ctk") is not None,
        shm_bytes=_shm_bytes(root),
        environment={name: value for name, value in environment.items() if name.startswith(TOLD)},
        load=reading.load,
        models=await asyncio.to_thread(model_sizes, config.home, models),
        disk_bytes_per_s=await asyncio.to_thread(disk_bytes_per_s, models),
        ports=_ports(config, hub_runs=status is not None),
        unix_s=unix_s(),
        newest_file_s=_modified_s(config.home / "journal" / "hub.jsonl"),
        home=str(config.home),
        home_writable=_writable(config.home),
        run_dir_mode=_mode(config.home / "run"),
        version=__version__,
        settings_without_effect=config.warnings,
        hub=None if status is None else _hub(status, alerts or {}, hub_version),
        symptoms=await asyncio.to_thread(read_symptoms, config.home / "journal" / "hub.jsonl"),
    )


def pci_gpus(root: Path = Path("/")) -> tuple[str, ...]:
    """PCI addresses of NVIDIA's display controllers (class 03xx); empty in a container that hides /sys."""
    found: list[str] = []
    with contextlib.suppress(OSError):
        for device in sorted((root / "sys/bus/pci/devices").iterdir()):
            vendor, class_ = ((device / name).read_text().strip() for name in ("vendor", "class"))
            if vendor == NVIDIA_VENDOR and class_.startswith("0x03"):
                found.append(device.name)
    return tuple(found)


def _build(config: Config) -> Build:
    try:
        return choose(config.hub.launcher, config.home, has_gpu=True)
    except ConfigError as error:
        return Build(path=config.hub.launcher, complaint=error.message)


def _refused(node: str) -> bool:
    try:
        os.close(os.open(node, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return error.errno in (errno.EPERM, errno.EACCES)
    return False


def _engine_pids(status: JsonObject | None) -> dict[int, str]:
    residents = (status or {}).get("residents")
    return {
        pid: str(one["engine"])
        for one in (residents if isinstance(residents, list) else [])
        if isinstance(one, dict) and isinstance(pid := one.get("pid"), int)
    }


def in_container(root: Path = Path("/")) -> bool:
    return (root / ".dockerenv").exists() or (root / "run/.containerenv").exists()


async def _docker(path: str | None) -> tuple[DockerFacts | None, bool]:
    """(what Docker says, whether its socket may not be opened)."""
    if path is None or not Path(path).exists():  # noqa: ASYNC240 one look
        return None, False
    if not os.access(path, os.R_OK | os.W_OK):
        return None, True
    try:
        async with asyncio.timeout(ASK_S), aiodocker.Docker(url=f"unix://{path}") as docker:
            info = await docker.system.info()
    except (TimeoutError, OSError, ValueError, aiohttp.ClientError, aiodocker.DockerError):
        return None, False
    return (
        DockerFacts(
            version=str(info.get("ServerVersion", "")),
            cgroup_driver=str(info.get("CgroupDriver", "")),
            runtimes=tuple(sorted(info.get("Runtimes") or ())),
            cdi=bool(info.get("CDISpecDirs")) and any(Path(one).glob("*") for one in info["CDISpecDirs"]),  # noqa: ASYNC240
        ),
        False,
    )


def _shm_bytes(root: Path) -> int | None:
    try:
        stat = os.statvfs(root / "dev/shm")
    except OSError:
        return None
    return stat.f_frsize * stat.f_blocks


def model_files(home: Path) -> list[Path]:
    """The blobs that are weights: everything above a few megabytes."""
    try:
        return [path for path in (home / "blobs").iterdir() if path.is_file() and path.stat().st_size > 8 << 20]
    except OSError:
        return []


def model_sizes(home: Path, files: Sequence[Path]) -> dict[str, int]:
    """Bytes by the name that a person knows the file by; a file that no model uses keeps its own."""
    try:
        names = {Path(model.path).name: model.name for model in reversed(Store(home).list())}
    except StoreError:
        names = {}
    return {names.get(path.name, path.name): path.stat().st_size for path in files}


def disk_bytes_per_s(models: list[Path]) -> float | None:
    """Of the largest model's first megabytes, read after the kernel was asked to drop them; None without a model."""
    if not models:
        return None
    largest = max(models, key=lambda path: path.stat().st_size)
    try:
        with largest.open("rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, MEASURED_BYTES, os.POSIX_FADV_DONTNEED)
            began_s, read = time.monotonic(), 0
            while read < MEASURED_BYTES and (chunk := file.read(1 << 20)):
                read += len(chunk)
            return read / max(1e-6, time.monotonic() - began_s)
    except OSError:
        return None


def _ports(config: Config, *, hub_runs: bool) -> tuple[PortFacts, ...]:
    wanted = (("hub", config.hub.port), ("documents", config.documents.port), ("rag", config.rag.port))
    return tuple(_port(service, port, hub_runs=hub_runs) for service, port in wanted)


def _port(service: str, port: int, *, hub_runs: bool) -> PortFacts:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return PortFacts(service=service, port=port)
            holder = _listener(port)
            ours = "partage" in holder or (service == "hub" and hub_runs)
            return PortFacts(service=service, port=port, holder=holder, ours=ours)
    return PortFacts(service=service, port=port)


def _listener(port: int) -> str:
    """The command that listens there; empty where it is not ours to see."""
    with contextlib.suppress(psutil.Error, OSError):
        for one in psutil.net_connections("tcp"):
            if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr[1] == port and one.pid:
                return " ".join(psutil.Process(one.pid).cmdline())[:200]
    return ""


def _modified_s(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _writable(home: Path) -> bool:
    there = next((path for path in (home, *home.parents) if path.exists()), home)
    return os.access(there, os.W_OK)


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode & 0o777
    except OSError:
        return None


def _leases(status: JsonObject) -> tuple[LeaseFacts, ...]:
    rows = status.get("leases")
    return tuple(
        LeaseFacts(
            id=str(one.get("id")),
            paused=one.get("state") == "paused",
            bytes_=size if isinstance(size := one.get("bytes"), int) else 0,
            stopped_pids=tuple(pid for pid in (pids if isinstance(pids, list) else []) if _stopped(pid)),
        )
        for one in (rows if isinstance(rows, list) else [])
        if isinstance(one, dict) and one.get("state") != "waiting"
        for pids in (one.get("pids"),)
    )


def _stopped(pid: object) -> TypeGuard[int]:
    try:
        return isinstance(pid, int) and psutil.Process(pid).status() in (
            psutil.STATUS_STOPPED,
            psutil.STATUS_TRACING_STOP,
        )
    except psutil.Error:
        return False


def _hub(status: JsonObject, alerts: JsonObject, version: str) -> HubFacts:
    standing = alerts.get("standing")
    return HubFacts(
        version=version,
        leases=_leases(status),
        alerts=tuple(
            (str(one.get("severity")), str(one.get("rule")), str(one.get("message")), str(one.get("cure")))
            for one in (standing if isinstance(standing, list) else [])
            if isinstance(one, dict)
        ),
    )


def read_symptoms(journal: Path) -> Symptoms:
    """Of the end of the journal; lines that are none of ours are passed over."""
    try:
        with journal.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - MOST_JOURNAL_BYTES))
            return SymptomReader().read(_understood(file))
    except OSError:
        return Symptoms()


def _understood(lines: Iterable[bytes]) -> Iterator[JournalLine]:
    for line in lines:
        with contextlib.suppress(JournalUnreadable):
            yield parse_line(line)
