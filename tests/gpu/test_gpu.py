from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from eventually import eventually
from hub_process import HubProcess, running_hub

from partage.device.checkpoint import find_checkpoint
from partage.device.discovery import discover
from partage.device.nvml import driver_version, read_gpus
from partage.engine.builds import choose

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not read_gpus(), reason="the driver shows no NVIDIA GPU here")]

HELD_MIB = 1024


@pytest.fixture
def cuda_engine(tmp_path: Path) -> None:
    """Skips where no llama.cpp here can use the GPU."""
    trouble = choose("auto", tmp_path, has_gpu=True).trouble
    if trouble is not None:
        pytest.skip(trouble)


def test_every_gpu_with_memory_is_a_device_with_a_budget():
    gpus = [device for device in discover() if device.kind == "cuda"]
    assert len(gpus) == sum(gpu.total_bytes > 0 for gpu in read_gpus())
    assert all(0 < device.budget_bytes < device.total_bytes for device in gpus)


@pytest.mark.usefixtures("cuda_engine")
def test_what_the_ledger_holds_for_a_model_is_soon_what_the_driver_says(model_home: Path, tmp_path: Path):
    with running_hub(tmp_path / "hub", model_home) as hub:
        httpx.post(f"{hub.url}/api/generate", json={"model": "smollm2:135m"}, timeout=300).raise_for_status()
        (resident,) = hub.status()["residents"]
        assert set(list_of(resident["devices"])) & {gpu.uuid for gpu in read_gpus()}, "it is on a GPU"
        held = driver_says(int(str(resident["pid"])))
        if not held:
            pytest.skip("the driver does not name our processes here (a container without the host's process ids)")
        eventually(lambda: ledger(hub) >= held)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="no PyTorch here to hold memory with")
def test_a_process_that_holds_a_gpu_is_parked_in_ram_and_comes_back_as_it_was():
    checkpoint = find_checkpoint(driver_version())
    if checkpoint is None:
        pytest.skip("the driver is older than 570, or cuda-core is not installed")
    program = f"""
import torch
held = torch.arange({HELD_MIB} * 2**17, dtype=torch.int64, device="cuda")  # of 8 bytes each
print("ready", flush=True)
while input():
    print(int(held[-1]), flush=True)
"""
    child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == "ready\n"
        before = used_bytes()
        checkpoint.park(child.pid)
        assert before - used_bytes() >= HELD_MIB << 20, "its memory is not on the device any more"
        checkpoint.unpark(child.pid)
        child.stdin.write("go on\n")
        child.stdin.flush()
        assert int(child.stdout.readline()) == HELD_MIB * 2**17 - 1
    finally:
        child.kill()
        child.communicate()


def used_bytes() -> int:
    return sum(gpu.used_bytes or 0 for gpu in read_gpus())


def driver_says(pid: int) -> int:
    processes = [process for gpu in read_gpus() for process in gpu.processes or ()]
    return sum(process.used_bytes or 0 for process in processes if process.pid == pid)


def ledger(hub: HubProcess) -> int:
    (resident,) = hub.status()["residents"]
    return int(str(resident["ledger_bytes"]))


def list_of(value: object) -> list[str]:
    assert isinstance(value, list)
    return [str(one) for one in value]
