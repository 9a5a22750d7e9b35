"""The facts the checks judge: gathered once (gather.py), plain values, so that a test can make any machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from partage.device.attribution import Owner
from partage.device.host_load import HostLoad
from partage.device.nvml import GpuSurvey
from partage.doctor.symptoms import Symptoms
from partage.domain import DeviceId
from partage.engine.builds import Build


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerFacts:
    """What `docker info` says."""

    version: str = ""
    cgroup_driver: str = ""
    runtimes: tuple[str, ...] = ()
    cdi: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PortFacts:
    """A port one of our services wants."""

    service: str
    port: int
    holder: str | None = None
    """The program that has it; "" where it is held by one we may not look at; None: free."""
    ours: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseFacts:
    """A lease that is held, and those of its processes that somebody has stopped (SIGSTOP, Ctrl-Z, a debugger)."""

    id: str
    paused: bool = False
    """By the hub, in turn or by hand."""
    bytes_: int = 0
    stopped_pids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFacts:
    """What a running hub says of itself; None where none answers."""

    version: str = ""
    alerts: tuple[tuple[str, str, str, str], ...] = ()
    """(severity, rule, message, cure) of those that stand."""
    leases: tuple[LeaseFacts, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    # the GPU
    survey: GpuSurvey = field(default_factory=GpuSurvey)
    pci_gpus: tuple[str, ...] = ()
    """NVIDIA GPUs on the PCI bus, by address, whether there is a driver or not."""
    driver_loaded: bool = False
    """The kernel module is there."""
    device_nodes: tuple[str, ...] = ()
    """/dev/nvidia0, /dev/nvidiactl ..."""
    refused_nodes: tuple[str, ...] = ()
    """Of them, those that may not be opened."""
    owners: Mapping[DeviceId, tuple[Owner, ...]] = field(default_factory=dict[DeviceId, tuple[Owner, ...]])
    mps_daemon: bool = False
    checkpoint_bindings: bool = True
    """cuda-core is installed."""

    # the engine
    build: Build | None = None
    """The llama.cpp that serves; None: it was not asked, for there is no GPU."""

    # the container
    in_container: bool = False
    host_pids: bool | None = None
    docker: DockerFacts | None = None
    docker_socket_refused: bool = False
    toolkit: bool = False
    """nvidia-ctk is on the PATH."""
    shm_bytes: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """CUDA_*, NVIDIA_* and OLLAMA_* only."""

    # the host
    load: HostLoad = field(default_factory=HostLoad)
    models: Mapping[str, int] = field(default_factory=dict[str, int])
    """Bytes of each model's files."""
    disk_bytes_per_s: float | None = None
    """Measured on a model's file, past the page cache."""
    ports: tuple[PortFacts, ...] = ()
    unix_s: float = 1.8e9
    newest_file_s: float | None = None
    """When the journal was last written."""
    home: str = "~/.partage"
    home_writable: bool = True
    run_dir_mode: int | None = None

    # ourselves
    version: str = ""
    settings_without_effect: tuple[str, ...] = ()
    hub: HubFacts | None = None
    symptoms: Symptoms = field(default_factory=Symptoms)

    @property
    def has_gpu(self) -> bool:
        return bool(self.survey.gpus or self.pci_gpus)

    @property
    def largest_model(self) -> tuple[str, int] | None:
        return max(self.models.items(), key=lambda item: item[1], default=None)
