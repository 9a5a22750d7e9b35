"""The raw copy between pinned RAM and a GPU: what parking and loading are measured against."""

from __future__ import annotations

import importlib
import statistics
import time
from typing import Any

from partage.domain import Device

LARGEST = 4 << 30
"""Longer copies are reckoned from it: the rate is the link's."""


def copies_s(device: Device, size_bytes: int) -> tuple[float, float] | None:
    """Seconds to the device, and back; None where there is no GPU or no PyTorch to ask it with."""
    if device.kind != "cuda":
        return None
    try:
        torch: Any = importlib.import_module("torch")
    except ImportError:
        print("  (no PyTorch here: the raw copy is not measured)")
        return None
    size = min(size_bytes, LARGEST)
    in_ram = torch.empty(size, dtype=torch.uint8, pin_memory=True)
    on_gpu = torch.empty(size, dtype=torch.uint8, device=f"cuda:{device.index}")

    def seconds(to: Any, source: Any) -> float:  # noqa: ANN401 PyTorch is not here to name its types
        times: list[float] = []
        for _ in range(6):
            torch.cuda.synchronize()
            began_s = time.perf_counter()
            to.copy_(source, non_blocking=True)
            torch.cuda.synchronize()
            times.append(time.perf_counter() - began_s)
        return statistics.median(times[1:]) * size_bytes / size  # the first warms up

    measured = seconds(on_gpu, in_ram), seconds(in_ram, on_gpu)
    del on_gpu, in_ram
    torch.cuda.empty_cache()
    return measured
