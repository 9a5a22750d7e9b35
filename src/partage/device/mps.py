"""NVIDIA's MPS daemon, which lets processes compute on a GPU at the same time and can bound what each takes of it."""

from __future__ import annotations

import psutil

from partage.domain import Device

LEAST_PERCENT = 10


def daemon_runs() -> bool:
    # The kernel cuts the name of nvidia-cuda-mps-control (and -server) to 15 characters.
    return any(one.info["name"] == "nvidia-cuda-mps" for one in psutil.process_iter(["name"]))


def limits(device: Device, size_bytes: int) -> dict[str, str]:
    """For a program that sees only this GPU: the driver refuses it more memory, and it computes on its part at most."""
    percent = -(-100 * size_bytes // max(1, device.budget_bytes))
    return {
        "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": f"0={size_bytes >> 20}M",
        "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": str(min(100, max(LEAST_PERCENT, percent))),
    }
