"""Which devices models may be placed on: the GPUs and the host, with the budgets the configuration gives them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from partage.device.host import HostReading, host_device, read_host
from partage.device.nvml import GpuReading, gpu_device, read_gpus
from partage.domain import Device, DeviceId
from partage.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceWish:
    """What the configuration says of one device: a GPU by index or UUID, or (gpu None) the host."""

    gpu: int | str | None = None
    memory_bytes: int | None = None
    reserve_bytes: int | None = None
    cores: int | None = None


def discover(
    wishes: Sequence[DeviceWish] = (),
    *,
    visible: Collection[str] | None = None,
    gpus: Callable[[], list[GpuReading]] = read_gpus,
    host: Callable[[], HostReading] = read_host,
) -> list[Device]:
    """GPUs first, the host last. GPUs that are configured exclude those that are not.

    `visible`: indices and UUIDs (or how they begin), as in CUDA_VISIBLE_DEVICES; the other GPUs are not there.
    Raises ConfigError when a configured GPU is not there.
    """
    readings = [reading for reading in gpus() if visible is None or _is_among(reading, visible)]
    chosen = [wish for wish in wishes if wish.gpu is not None]
    devices: list[Device] = []
    # One without memory of its own takes the host's: only somebody who says how much of it can give it any.
    for wish in chosen or [DeviceWish(gpu=reading.uuid) for reading in readings if reading.total_bytes]:
        reading = next((r for r in readings if wish.gpu in (r.index, r.uuid)), None)
        if reading is None:
            there = ", ".join(f"{r.index} ({r.uuid})" for r in readings) or "none"
            raise ConfigError(f"devices: there is no GPU {wish.gpu}; the driver shows: {there}")
        devices.append(gpu_device(reading, memory_bytes=wish.memory_bytes, reserve_bytes=wish.reserve_bytes))
    own = next((wish for wish in wishes if wish.gpu is None), DeviceWish())
    devices.append(host_device(host(), memory_bytes=own.memory_bytes, reserve_bytes=own.reserve_bytes, cores=own.cores))
    return devices


def gpus_named(devices: Sequence[Device], names: int | str | Sequence[int | str], where: str) -> tuple[DeviceId, ...]:
    """The GPUs that a setting names, by index, UUID or its beginning; none for "none". Raises ConfigError."""
    found: list[DeviceId] = []
    gpus = [device for device in devices if device.kind == "cuda"]
    for name in () if names == "none" else (names,) if isinstance(names, int | str) else names:
        text = str(name)
        known = next(
            (one for one in gpus if text in (str(one.index), one.id) or (text and one.id.startswith(text))), None
        )
        if known is None:
            there = ", ".join(f"{one.index} ({one.id})" for one in gpus) or "none"
            raise ConfigError(f"{where}: there is no GPU {text}; there are: {there}")
        found.append(known.id)
    return tuple(dict.fromkeys(found))


def _is_among(reading: GpuReading, visible: Collection[str]) -> bool:
    return any(name == str(reading.index) or (name and reading.uuid.startswith(name)) for name in visible)
