"""The machine that is planned for: this one, or one described as "2x24GiB"."""

from __future__ import annotations

import re
from collections.abc import Sequence

from partage.config import Config
from partage.device.discovery import DeviceWish, discover, gpus_named
from partage.device.nvml import DEFAULT_RESERVE_BYTES
from partage.domain import Device, DeviceId
from partage.errors import InvalidRequest
from partage.models.names import canonical
from partage.quantities import parse_bytes

_GPUS = re.compile(r"\s*(?:(\d+)\s*[x*]\s*)?(\S.*)", re.IGNORECASE)
DEFAULT_HOST_BYTES = 16 << 30
LEAST_GPU_BYTES = 64 << 20
DEFAULT_CORES = 8


def this_machine(config: Config) -> list[Device]:
    """As the hub finds it. Raises ConfigError."""
    return discover(
        [
            DeviceWish(gpu=wish.gpu, memory_bytes=wish.memory_bytes, reserve_bytes=wish.reserve_bytes, cores=wish.cores)
            for wish in config.devices
        ]
    )


def pinned_gpus(config: Config, devices: Sequence[Device]) -> dict[str, tuple[DeviceId, ...]]:
    """Model -> its GPUs, as the configuration says. Raises ConfigError for a GPU that is not there."""
    return {
        canonical(name): gpus_named(devices, entry.gpu, f"models.{name}.gpu")
        for name, entry in config.models.items()
        if entry.gpu is not None
    }


def gpu_sizes(text: str) -> list[int]:
    """Bytes of each GPU of "1x8GiB", "2x24GiB", "24GiB+8GiB" or "none". Raises InvalidRequest."""
    sizes: list[int] = []
    for part in text.split("+") if text.strip().lower() not in ("", "none", "0") else ():
        match = _GPUS.fullmatch(part)
        if match is None:
            raise InvalidRequest(f"{text!r} are no GPUs; write for example 2x24GiB, 24GiB+8GiB or none")
        count, size = int(match[1] or 1), parse_bytes(match[2])
        if not 0 < count <= 64:
            raise InvalidRequest(f"{part!r}: between 1 and 64 GPUs")
        if size < LEAST_GPU_BYTES:
            raise InvalidRequest(
                f"{part!r} would be a GPU of {size} bytes; give its memory a unit, as in {match[2]}GiB"
            )
        sizes += [size] * count
    return sizes


def described_machine(gpus: str, host_bytes: int = DEFAULT_HOST_BYTES, cores: int = DEFAULT_CORES) -> list[Device]:
    """With the GPUs of `gpu_sizes`. Raises InvalidRequest."""
    devices = [
        Device(
            id=f"gpu{index}",
            kind="cuda",
            name=f"GPU {index}",
            index=index,
            total_bytes=size,
            reserve_bytes=DEFAULT_RESERVE_BYTES,
        )
        for index, size in enumerate(gpu_sizes(gpus))
    ]
    return [*devices, Device(id="host", kind="host", name="host memory", total_bytes=host_bytes, cores=cores)]
