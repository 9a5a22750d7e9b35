"""What the hub has to work with: its devices, the llama.cpp that serves on them, and who moves engines to RAM."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from partage.config import Config
from partage.device.checkpoint import find_checkpoint
from partage.device.discovery import DeviceWish, discover
from partage.device.host import HOST, engine_threads, read_host
from partage.device.nvml import GpuSurvey, Nvml
from partage.domain import Device, DeviceId
from partage.engine.builds import Build, choose
from partage.engine.workers import WAITING_BYTES
from partage.hub.overheads import Overheads
from partage.hub.residents import Checkpoint

log = logging.getLogger(__name__)

LEAST_FOR_SPARE_BYTES = 2 << 30
"""With less RAM a worker that only waits is a luxury."""
PARK_SHARE = 0.2
"""Of the RAM; models on the host may take 0.6 of it (device/host.py)."""
DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True, slots=True)
class Equipment:
    devices: list[Device]
    """Where models may be placed."""
    llama_server: str | None
    """Path of the one that serves; None: the built-in library."""
    driver_version: str | None = None


def equipment_of(config: Config) -> Equipment:
    """Says loudly where there is a GPU that cannot be used. Raises ConfigError."""
    with contextlib.closing(Nvml()) as nvml:
        survey = nvml.read()
    complain(survey)
    devices = discover(
        [
            DeviceWish(gpu=wish.gpu, memory_bytes=wish.memory_bytes, reserve_bytes=wish.reserve_bytes, cores=wish.cores)
            for wish in config.devices
        ],
        visible=config.visible_gpus,
        gpus=lambda: list(survey.gpus),
    )
    build = choose(config.hub.launcher, config.home, has_gpu=any(device.kind == "cuda" for device in devices))
    devices = usable(devices, build)
    # Who says how much models may have gets that; the worker that waits is then outside of it, as the hub itself is.
    told = any(wish.host and wish.memory_bytes is not None for wish in config.devices)
    if wants_spare_worker(config, build.path) and not told:
        devices = [_with_reserve(device, WAITING_BYTES) if device.kind == "host" else device for device in devices]
    return Equipment(overheads_of(config).applied(devices), build.path, survey.driver_version)


def complain(survey: GpuSurvey, driver: Path = DRIVER) -> None:
    """Where the driver is there and does not answer, somebody expects a GPU."""
    if survey.error is not None and (driver.exists() or not survey.no_library):
        log.error(
            "there is an NVIDIA driver, but NVML says: %s. GPUs it does not show are NOT used, and models run on the CPU; "
            "`partage doctor` says what mends it",
            survey.error,
        )


def usable(devices: list[Device], build: Build) -> list[Device]:
    """Those that the engine can compute on."""
    names = ", ".join(device.name for device in devices if device.kind == "cuda")
    if not names or build.trouble is None:
        return devices
    log.error(
        "there is a GPU (%s) that is NOT used: %s. Models run on the CPU, many times slower; `partage doctor` says what "
        'mends it (docs/gpu.md, "An engine that uses the GPU")',
        names,
        build.trouble,
    )
    return [device for device in devices if device.kind != "cuda"]


def wants_spare_worker(config: Config, llama_server: str | None) -> bool:
    return config.hub.standby and llama_server is None and read_host().total_bytes >= LEAST_FOR_SPARE_BYTES


def parking_of(config: Config, equipment: Equipment) -> tuple[Checkpoint | None, list[Device], int]:
    """Who moves engines to RAM, the devices with whether they can, and how much RAM is for that. 0: none is parked."""
    wished = config.hub.park_budget_bytes
    has_gpu = any(device.kind == "cuda" for device in equipment.devices)
    checkpoint = find_checkpoint(equipment.driver_version) if has_gpu and wished != 0 else None
    if checkpoint is None:
        return None, [*equipment.devices], 0
    ram_bytes = read_host().total_bytes
    able = [replace(device, parks=device.kind == "cuda") for device in equipment.devices]
    return checkpoint, able, int(ram_bytes * PARK_SHARE) if wished is None else wished


def overheads_of(config: Config) -> Overheads:
    return Overheads(config.home / "overheads.json")


def default_threads(devices: Sequence[Device]) -> int:
    """Of an engine that is told nothing else."""
    return engine_threads(next(device for device in devices if device.kind == "host").cores)


def spare_devices(devices: Sequence[Device]) -> tuple[DeviceId, ...]:
    """What the worker that waits for the next load will see: the one GPU, where models go first; else the host."""
    gpus = [device for device in devices if device.kind == "cuda"]
    return (gpus[0].id,) if len(gpus) == 1 else (HOST,)


def _with_reserve(device: Device, more_bytes: int) -> Device:
    return replace(device, reserve_bytes=device.reserve_bytes + more_bytes)
