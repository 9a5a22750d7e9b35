"""Each check: the machine on which it speaks, and a healthy one on which all are silent."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pynvml
import pytest

from partage.device.attribution import Owner
from partage.device.fake_nvml import FakeGpu, FakeNvml
from partage.device.host_load import HostLoad
from partage.device.nvml import GpuSurvey, Nvml
from partage.doctor.examine import CHECKS, examine
from partage.doctor.finding import exit_code
from partage.doctor.machine import DockerFacts, HubFacts, LeaseFacts, Machine, PortFacts
from partage.doctor.symptoms import Symptoms
from partage.engine.builds import Build

GIB = 1 << 30


def surveyed(*gpus: FakeGpu, fails: int | None = None) -> GpuSurvey:
    return Nvml(FakeNvml(list(gpus) or [FakeGpu()], fails=fails)).read()


HEALTHY = Machine(
    survey=surveyed(),
    pci_gpus=("0000:01:00.0",),
    driver_loaded=True,
    device_nodes=("/dev/nvidia0",),
    owners={"GPU-0": (Owner(kind="engine", name="llama3.2:latest#1", pid=10, used_bytes=20 * GIB),)},
    build=Build(path="/usr/local/bin/llama-server", devices=("CUDA0: NVIDIA H100",)),
    host_pids=True,
    docker=DockerFacts(version="27.0", cgroup_driver="systemd", runtimes=("nvidia", "runc"), cdi=True),
    toolkit=True,
    shm_bytes=32 * GIB,
    environment={"CUDA_VISIBLE_DEVICES": "0"},
    load=HostLoad(
        total_bytes=64 * GIB,
        available_bytes=50 * GIB,
        swap_used_bytes=0,
        disk_total_bytes=1000 * GIB,
        disk_free_bytes=500 * GIB,
    ),
    models={"llama3.2:latest": 2 * GIB},
    disk_bytes_per_s=2e9,
    ports=(
        PortFacts(service="hub", port=11434, holder="python -m partage hub", ours=True),
        PortFacts(service="rag", port=8102),
    ),
    unix_s=1.8e9,
    newest_file_s=1.8e9 - 5,
    run_dir_mode=0o700,
    version="0.1.0",
    hub=HubFacts(
        version="0.1.0",
        leases=(LeaseFacts(id="train-1", bytes_=GIB), LeaseFacts(id="train-2", paused=True, stopped_pids=(78,))),
    ),
    symptoms=Symptoms(spanned_s=86_400, loading_s=100, evictions={"a": 3}, keep_alives={"chat": (2, 500)}),
)
IN_CONTAINER = replace(HEALTHY, in_container=True, docker=None)
NO_GPU = Machine(load=HEALTHY.load, models=HEALTHY.models, ports=HEALTHY.ports)

STRANGER = Owner(kind="stranger", name="ann: python train.py", pid=77, used_bytes=30 * GIB)
NEIGHBOUR = Owner(kind="container", name="comfyui", pid=78, used_bytes=10 * GIB)
OLLAMA = PortFacts(service="hub", port=11434, holder="/usr/local/bin/ollama serve")

FAULTS: dict[str, list[tuple[Machine, str, str]]] = {
    "driver": [
        (
            Machine(pci_gpus=("0000:01:00.0",), survey=surveyed(fails=pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)),
            "no driver",
            "modprobe",
        )
    ],
    "nvml": [
        (
            replace(IN_CONTAINER, survey=surveyed(fails=pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)),
            "NVIDIA_DRIVER_CAPABILITIES is unset",
            "compute,utility",
        ),
        (replace(HEALTHY, survey=surveyed(fails=pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)), "its library", "reinstall"),
    ],
    "device_access": [
        (replace(IN_CONTAINER, survey=surveyed(fails=pynvml.NVML_ERROR_UNKNOWN)), "Unknown Error", "docker restart"),
        (
            replace(IN_CONTAINER, survey=surveyed(fails=pynvml.NVML_ERROR_UNKNOWN), refused_nodes=("/dev/nvidia0",)),
            "not permitted",
            "docker restart",
        ),
        (replace(HEALTHY, refused_nodes=("/dev/nvidia0",)), "not permitted", "usermod"),
        (
            replace(HEALTHY, survey=surveyed(fails=pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH)),
            "version mismatch",
            "sudo reboot",
        ),
        (replace(IN_CONTAINER, survey=surveyed(fails=pynvml.NVML_ERROR_NO_PERMISSION)), "Permissions", "-mig 0"),
        (replace(HEALTHY, survey=surveyed(FakeGpu(), FakeGpu(lost=True))), "GPU 1", "dmesg"),
    ],
    "container_gpu": [
        (
            replace(IN_CONTAINER, survey=GpuSurvey(), device_nodes=(), owners={}),
            "given no GPU",
            "--gpus all",
        )
    ],
    "visible_devices": [
        (replace(IN_CONTAINER, environment={"CUDA_VISIBLE_DEVICES": "1"}), "=1", "unset"),
        (replace(HEALTHY, environment={"CUDA_VISIBLE_DEVICES": ""}), "''", "unset"),
        (replace(HEALTHY, environment={"CUDA_VISIBLE_DEVICES": "0,GPU-7"}), "0 to 0", "unset"),
        (replace(HEALTHY, survey=surveyed(FakeGpu(), FakeGpu(uuid="GPU-1", name="RTX 4090"))), "fastest", "PCI_BUS_ID"),
    ],
    "engine_build": [
        (replace(HEALTHY, build=Build(devices=())), "built-in llama.cpp can only use the CPU", "partage engine build"),
        (replace(HEALTHY, build=Build(path="/bin/l", devices=("Vulkan0: H100",))), "/bin/l can only", "engine build"),
        (replace(HEALTHY, build=Build(path="/bin/l", complaint="libcudart.so.12: not found")), "libcudart", "restart"),
    ],
    "driver_age": [(replace(HEALTHY, survey=replace(surveyed(), driver_version="470.182.03")), "470.182.03", "apt")],
    "parking": [
        (replace(HEALTHY, checkpoint_bindings=False), "cuda-core is not installed", "pip install cuda-core"),
        (
            replace(HEALTHY, survey=replace(surveyed(), driver_version="550.54")),
            "driver 550.54; it takes 570",
            "reboot",
        ),
    ],
    "compute_mode": [(replace(HEALTHY, survey=surveyed(FakeGpu(compute_mode=3))), "exclusive_process", "-c DEFAULT")],
    "mig": [(replace(HEALTHY, survey=surveyed(FakeGpu(mig=True))), "on", "-mig 0")],
    "mps": [(replace(HEALTHY, mps_daemon=True), "MPS", "quit")],
    "persistence": [(replace(HEALTHY, survey=surveyed(FakeGpu(persistence=False))), "off", "-pm 1")],
    "unified_memory": [
        (replace(HEALTHY, survey=surveyed(FakeGpu(total_bytes=None))), "takes the host's", "memory: 64GiB")
    ],
    "other_programs": [
        (replace(HEALTHY, owners={"GPU-0": (STRANGER,)}), "train.py (pid 77) 30.0 GiB", "kill 77"),
        (replace(HEALTHY, owners={"GPU-0": (NEIGHBOUR,)}), "comfyui", "docker stop comfyui"),
    ],
    "gpu_health": [
        (replace(HEALTHY, survey=surveyed(FakeGpu(ecc=2))), "2 uncorrected", "ROW_REMAPPER"),
        (replace(HEALTHY, survey=surveyed(FakeGpu(throttles=0x40))), "temperature (hardware), at 41", "fans"),
    ],
    "runtime": [
        (
            replace(HEALTHY, docker=DockerFacts(version="27.0", runtimes=("runc",)), toolkit=False),
            "not installed",
            "apt install nvidia-container-toolkit",
        ),
        (replace(HEALTHY, docker=DockerFacts(version="27.0", runtimes=("runc",))), "not nvidia", "nvidia-ctk runtime"),
    ],
    "cgroup_driver": [
        (
            replace(HEALTHY, docker=DockerFacts(version="27.0", cgroup_driver="systemd", runtimes=("nvidia",))),
            "systemd",
            "cdi generate",
        )
    ],
    "pid_namespace": [(replace(IN_CONTAINER, host_pids=False), "process ids of its own", "pid: host")],
    "shared_memory": [(replace(IN_CONTAINER, shm_bytes=64 << 20), "64.0 MiB", "shm_size")],
    "docker_socket": [(replace(HEALTHY, docker=None, docker_socket_refused=True), "may not be opened", "docker $USER")],
    "memory": [
        (
            replace(NO_GPU, models={"llava:70b": 60 * GIB}, load=replace(NO_GPU.load, available_bytes=61 * GIB)),
            "llava:70b",
            "rm",
        ),
        (replace(HEALTHY, load=replace(HEALTHY.load, swap_used_bytes=9 * GIB)), "9.00 GiB of swap", "ps"),
    ],
    "page_cache": [(replace(HEALTHY, load=replace(HEALTHY.load, available_bytes=GIB)), "1.00 GiB for llama", "free")],
    "disk": [
        (replace(HEALTHY, load=replace(HEALTHY.load, disk_free_bytes=10 * GIB)), "1.0%", "partage ls"),
        (replace(HEALTHY, disk_bytes_per_s=50e6), "50 MB/s; llama3.2:latest takes 43 s", "PARTAGE_HOME"),
    ],
    "ports": [
        (replace(HEALTHY, ports=(OLLAMA,)), "ollama serve", "disable --now ollama"),
        (replace(HEALTHY, ports=(PortFacts(service="rag", port=8102, holder=""),)), "another user", "ss -ltnp"),
    ],
    "clock": [
        (replace(HEALTHY, unix_s=3600.0, newest_file_s=None), "before 2025", "set-ntp"),
        (replace(HEALTHY, newest_file_s=1.8e9 + 3600), "3600 s from now", "set-ntp"),
    ],
    "permissions": [
        (replace(HEALTHY, home_writable=False), "may not be written", "chown"),
        (replace(HEALTHY, run_dir_mode=0o755), "755", "chmod 700"),
    ],
    "versions": [(replace(HEALTHY, hub=HubFacts(version="0.0.9")), "0.0.9", "recreate")],
    "settings": [
        (
            replace(HEALTHY, settings_without_effect=("OLLAMA_MAX_VRAM has no effect here: ...",)),
            "OLLAMA_MAX_VRAM",
            "unset OLLAMA",
        )
    ],
    "leases": [
        (
            replace(HEALTHY, hub=HubFacts(leases=(LeaseFacts(id="train-1", bytes_=6 * GIB, stopped_pids=(77,)),))),
            "77 is stopped, and not by the hub",
            "kill -CONT 77",
        )
    ],
    "alerts": [
        (
            replace(HEALTHY, hub=HubFacts(alerts=(("critical", "gpu_lost", "the GPU is gone", "restart it"),))),
            "gone",
            "restart",
        )
    ],
    "thrash": [
        (
            replace(HEALTHY, symptoms=Symptoms(spanned_s=3600, loading_s=1800, evictions={"llava:13b": 40})),
            "50%",
            "simulate",
        )
    ],
    "spills": [(replace(HEALTHY, symptoms=Symptoms(spills={"llava:13b": 4})), "llava:13b 4 times", "partage plan")],
    "out_of_memory": [
        (replace(HEALTHY, symptoms=Symptoms(out_of_memory={"llava:13b": 1})), "CUDA out of memory", "reserve")
    ],
    "crashes": [(replace(HEALTHY, symptoms=Symptoms(crashes={"llava:13b": 3})), "llava:13b 3 times", "partage pull")],
    "slow_loads": [(replace(HEALTHY, symptoms=Symptoms(slowest_load=("llava:13b", 95.0))), "95 s", "page_cache")],
    "keep_alive": [(replace(HEALTHY, symptoms=Symptoms(keep_alives={"n8n": (90, 100)})), "n8n", "remove keep_alive")],
}
CASES = [(name, *case) for name, cases in FAULTS.items() for case in cases]


@pytest.mark.parametrize(
    ("check", "machine", "found", "mend"), CASES, ids=[f"{case[0]}-{number}" for number, case in enumerate(CASES)]
)
def test_a_fault_is_found_with_the_command_that_mends_it(check: str, machine: Machine, found: str, mend: str):
    own = [one.finding for one in examine(machine) if one.check == check]
    assert len(own) == 1
    assert found in own[0].found
    assert mend in own[0].mend
    assert own[0].why
    assert own[0].looked_at


@pytest.mark.parametrize(
    "machine", [HEALTHY, IN_CONTAINER, NO_GPU, Machine()], ids=["a GPU", "a container", "no GPU", "nothing known"]
)
def test_a_healthy_machine_hears_nothing(machine: Machine):
    assert examine(machine) == []


def test_every_check_has_a_fault_here():
    assert [check.name for check in CHECKS] == list(FAULTS)


@pytest.mark.parametrize("seed", ["CUDA out of memory", "No GPU detected", "Poor performance"])
def test_each_of_the_three_complaints_is_explained_by_several_checks(seed: str):
    explaining = {
        check
        for check, machine, _, _ in CASES
        for one in examine(machine)
        if one.check == check and seed.lower() in f"{one.finding.found} {one.finding.why}".lower()
    }
    assert len(explaining) >= 3, explaining


def test_the_worst_comes_first_and_decides_the_exit_code():
    machine = replace(HEALTHY, mps_daemon=True, survey=surveyed(FakeGpu(persistence=False, compute_mode=2)))
    found = examine(machine)
    assert [one.finding.severity for one in found] == ["error", "warning", "hint"]
    assert [exit_code(found[number:]) for number in range(4)] == [2, 1, 0, 0]


def test_the_document_names_every_check():
    text = (Path(__file__).parents[3] / "docs" / "doctor.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == [check.name for check in CHECKS]
