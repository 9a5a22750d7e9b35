from __future__ import annotations

import shutil
from pathlib import Path

import httpx
import pytest
from hub_process import running_hub

from partage.device.discovery import discover
from partage.device.nvml import read_gpus

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not read_gpus(), reason="the driver shows no NVIDIA GPU here")]

needs_cuda_server = pytest.mark.skipif(
    shutil.which("llama-server") is None,
    reason="no llama-server on the PATH, and the built-in llama.cpp is for the CPU",
)


def test_every_gpu_is_a_device_with_its_memory():
    gpus = [device for device in discover() if device.kind == "cuda"]
    assert gpus
    assert all(0 < device.budget_bytes < device.total_bytes for device in gpus)


@needs_cuda_server
def test_what_the_ledger_holds_for_a_model_is_not_less_than_what_the_driver_says(model_home: Path, tmp_path: Path):
    with running_hub(tmp_path / "hub", model_home) as hub:
        httpx.post(f"{hub.url}/api/generate", json={"model": "smollm2:135m"}, timeout=300).raise_for_status()
        (resident,) = hub.status()["residents"]
        processes = [process for gpu in read_gpus() for process in gpu.processes or ()]
        held = sum(process.used_bytes or 0 for process in processes if process.pid == resident["pid"])
        assert 0 < held <= int(str(resident["ledger_bytes"]))
