"""Is there a GPU, may we use it, is it whole, and who else does."""

from __future__ import annotations

from collections.abc import Iterator

from partage.device.checkpoint import LEAST_DRIVER
from partage.doctor.finding import Finding
from partage.doctor.machine import Machine
from partage.quantities import format_bytes

OLDEST_DRIVER = 525
"""The first that runs CUDA 12."""
WORTH_NAMING_SHARE = 0.02
MEND_ENGINE = (
    "partage engine build   # needs cmake, a C++ compiler and nvcc; or the CUDA wheel of xllamacpp, or the CUDA image: "
    "docs/gpu.md. Then restart the hub"
)


def driver(machine: Machine) -> Iterator[Finding]:
    if machine.pci_gpus and not machine.driver_loaded:
        yield Finding(
            severity="error",
            looked_at="the PCI bus and /proc/driver/nvidia",
            found=f"{len(machine.pci_gpus)} NVIDIA GPU(s) at {', '.join(machine.pci_gpus)}, and no driver in the kernel",
            why="No GPU detected: every model runs on the CPU",
            mend="sudo modprobe nvidia || sudo apt install nvidia-driver && sudo reboot",
        )


def nvml(machine: Machine) -> Iterator[Finding]:
    if not machine.driver_loaded or not machine.survey.no_library:
        return
    if machine.in_container:
        shown = machine.environment.get("NVIDIA_DRIVER_CAPABILITIES", "unset")
        yield Finding(
            severity="error",
            looked_at="libnvidia-ml.so.1 and NVIDIA_DRIVER_CAPABILITIES",
            found=f"the container has no NVML; NVIDIA_DRIVER_CAPABILITIES is {shown}",
            why="without the `utility` capability nothing can say how full the GPU is, and it is taken for absent",
            mend="environment: [NVIDIA_DRIVER_CAPABILITIES=compute,utility]   # in the service, then `docker compose up -d`",
        )
    else:
        yield Finding(
            severity="error",
            looked_at="libnvidia-ml.so.1",
            found="the kernel has the driver, but its library is not there",
            why="kernel and user part of the driver do not belong together: nothing can use the GPU",
            mend="sudo apt install --reinstall nvidia-utils-$(cut -d' ' -f9 /proc/driver/nvidia/version | cut -d. -f1)",
        )


def device_access(machine: Machine) -> Iterator[Finding]:
    if machine.refused_nodes:
        yield Finding(
            severity="error",
            looked_at="opening " + ", ".join(machine.refused_nodes),
            found="not permitted" + (", although the container was given them" if machine.in_container else ""),
            why="No GPU detected: systemd took the devices away when it was reloaded (systemctl daemon-reload), and models "
            "fall back to the CPU without a word"
            if machine.in_container
            else "No GPU detected: this user may not use the GPU",
            mend="docker restart $(hostname)   # from the host; for good see the check cgroup_driver"
            if machine.in_container
            else "sudo usermod -aG video,render $USER   # then log in again",
        )
    elif machine.survey.error and not machine.survey.no_library:
        yield Finding(
            severity="error",
            looked_at="NVML",
            found=f'NVML says "{machine.survey.error}"',
            why="No GPU detected: the driver failed, or the device was taken away while this ran",
            mend=_mend_nvml(machine.survey.error, in_container=machine.in_container),
        )


def _mend_nvml(error: str, *, in_container: bool) -> str:
    if "version mismatch" in error:
        return "sudo reboot   # of the host: its driver was upgraded while the old one still runs in the kernel"
    if "Insufficient Permissions" in error:
        return "sudo nvidia-smi -mig 0   # on the host, and give the container the whole GPU: the hub does not use MIG instances"
    if in_container:
        return "docker restart $(hostname)   # from the host"
    return (
        "sudo dmesg | grep -iE 'nvrm|xid' | tail   # 79: it fell off the bus; a reboot brings it back, or nothing does"
    )


def container_gpu(machine: Machine) -> Iterator[Finding]:
    if machine.in_container and machine.driver_loaded and not machine.device_nodes:
        yield Finding(
            severity="error",
            looked_at="/dev/nvidia* in this container",
            found="the host has an NVIDIA driver, but this container was given no GPU",
            why="No GPU detected: every model runs on the CPU",
            mend="docker run --gpus all ...   # or in compose: deploy.resources.reservations.devices with "
            "driver: nvidia, count: all, capabilities: [gpu]",
        )


def visible_devices(machine: Machine) -> Iterator[Finding]:
    """An index counts what the process sees: in a container the one GPU it was given is 0, whatever it is outside."""
    shown = machine.environment.get("CUDA_VISIBLE_DEVICES")
    if shown is None or not machine.survey.gpus:
        return
    uuids, count = [gpu.uuid for gpu in machine.survey.gpus], len(machine.survey.gpus)
    wrong = [
        one
        for one in map(str.strip, shown.split(","))
        if not (one.isdigit() and int(one) < count) and not (one and any(uuid.startswith(one) for uuid in uuids))
    ]
    if wrong:
        yield Finding(
            severity="error",
            looked_at="CUDA_VISIBLE_DEVICES and the GPUs that are here",
            found=f"CUDA_VISIBLE_DEVICES={shown or repr('')}, but there are {count}: 0 to {count - 1}",
            why="CUDA sees nothing from the first wrong entry on: No GPU detected. A container counts its own GPUs from 0",
            mend="unset CUDA_VISIBLE_DEVICES   # and choose with `devices: [{gpu: UUID}]` in partage.yaml",
        )
    elif (
        any(map(str.isdigit, shown.split(",")))
        and len({gpu.name for gpu in machine.survey.gpus}) > 1
        and machine.environment.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID"
    ):
        yield Finding(
            severity="warning",
            looked_at="CUDA_VISIBLE_DEVICES, CUDA_DEVICE_ORDER and the kinds of GPUs that are here",
            found=f"CUDA_VISIBLE_DEVICES={shown} counts different GPUs: CUDA the fastest first, the hub and nvidia-smi by the bus",
            why="the hub and other programs may mean different GPUs by one number",
            mend="export CUDA_DEVICE_ORDER=PCI_BUS_ID   # for all of them; or name GPUs by UUID (nvidia-smi -L)",
        )


def engine_build(machine: Machine) -> Iterator[Finding]:
    build = machine.build
    if build is None or build.trouble is None:
        return
    yield Finding(
        severity="error",
        looked_at=f"the devices that {build.name} lists, and the options it knows",
        found=f"there is a GPU that is not used: {build.trouble}",
        why="Poor performance: every model runs on the CPU, ten times slower and more",
        mend=MEND_ENGINE,
    )


def driver_age(machine: Machine) -> Iterator[Finding]:
    version = machine.survey.driver_version
    major = (version or "").split(".")[0]
    if major.isdigit() and int(major) < OLDEST_DRIVER:
        yield Finding(
            severity="warning",
            looked_at="the driver's version",
            found=f"driver {version}; CUDA 12 needs {OLDEST_DRIVER} or newer",
            why="engines built for CUDA 12 do not start",
            mend="sudo apt install nvidia-driver && sudo reboot",
        )


def parking(machine: Machine) -> Iterator[Finding]:
    major = (machine.survey.driver_version or "").split(".")[0]
    if not machine.survey.gpus or not major.isdigit():
        return
    if int(major) < LEAST_DRIVER:
        found, mend = (
            f"driver {machine.survey.driver_version}; it takes {LEAST_DRIVER}",
            "sudo apt install nvidia-driver && sudo reboot",
        )
    elif not machine.checkpoint_bindings:
        found, mend = (
            "cuda-core is not installed",
            "pip install cuda-core cuda-bindings   # where partage is; then restart the hub",
        )
    else:
        return
    yield Finding(
        severity="hint",
        looked_at="whether idle models can be parked in RAM",
        found=found,
        why="a model that makes room for another is ended, and loaded anew when it is asked for",
        mend=mend,
    )


def compute_mode(machine: Machine) -> Iterator[Finding]:
    for gpu in machine.survey.gpus:
        if gpu.compute_mode not in (None, "default"):
            yield Finding(
                severity="error",
                looked_at=f"compute mode of GPU {gpu.index}",
                found=f"it is {gpu.compute_mode}",
                why="each model is a process of its own: the second one gets `CUDA error: all CUDA-capable devices are busy`",
                mend=f"sudo nvidia-smi -i {gpu.index} -c DEFAULT",
            )


def mig(machine: Machine) -> Iterator[Finding]:
    for gpu in machine.survey.gpus:
        if gpu.mig:
            yield Finding(
                severity="warning",
                looked_at=f"MIG mode of GPU {gpu.index}",
                found="it is on",
                why="CUDA uses one instance per process only, and the ledger counts the whole GPU: CUDA out of memory "
                "although there seems to be room",
                mend=f"sudo nvidia-smi -i {gpu.index} -mig 0   # or give the hub's container one instance, and its size as "
                "devices[].memory",
            )


def mps(machine: Machine) -> Iterator[Finding]:
    if machine.mps_daemon and machine.has_gpu:
        yield Finding(
            severity="warning",
            looked_at="the processes",
            found="the MPS daemon is running",
            why="one process that faults takes all its neighbours with it, and memory is not shown per process",
            mend="echo quit | sudo nvidia-cuda-mps-control",
        )


def persistence(machine: Machine) -> Iterator[Finding]:
    for gpu in machine.survey.gpus:
        if gpu.persistence is False:
            yield Finding(
                severity="hint",
                looked_at=f"persistence mode of GPU {gpu.index}",
                found="it is off",
                why="the driver shuts the GPU down when its last user leaves: the next load takes seconds longer",
                mend="sudo systemctl enable --now nvidia-persistenced || sudo nvidia-smi -pm 1",
            )


def other_programs(machine: Machine) -> Iterator[Finding]:
    for gpu in machine.survey.gpus:
        others = [one for one in machine.owners.get(gpu.uuid, ()) if one.kind in ("container", "stranger")]
        held = sum(one.used_bytes or 0 for one in others)
        if not gpu.total_bytes or held <= WORTH_NAMING_SHARE * gpu.total_bytes:
            continue
        most = max(others, key=lambda one: one.used_bytes or 0)
        yield Finding(
            severity="warning",
            looked_at=f"the processes on GPU {gpu.index}",
            found=f"programs that are not ours hold {format_bytes(held)} of {format_bytes(gpu.total_bytes)}: "
            + ", ".join(f"{one.name} (pid {one.pid}) {format_bytes(one.used_bytes or 0)}" for one in others[:4]),
            why="CUDA out of memory, or Poor performance with multiple containers: each takes what it finds, and none waits",
            mend="let it call the hub instead (OLLAMA_HOST=http://HUB:11434), or stop it: "
            + (f"docker stop {most.name}" if most.kind == "container" else f"kill {most.pid}"),
        )


def unified_memory(machine: Machine) -> Iterator[Finding]:
    for gpu in machine.survey.gpus:
        if not gpu.total_bytes:
            yield Finding(
                severity="hint",
                looked_at=f"the memory of GPU {gpu.index}",
                found=f"{gpu.name} has none of its own: it takes the host's",
                why="the hub cannot know how much of it models may have, and uses the GPU only when it is told",
                mend=f"devices: [{{gpu: {gpu.index}, memory: 64GiB}}, {{host: true, memory: 16GiB}}]   # in partage.yaml; together "
                "less than the RAM",
            )


def health(machine: Machine) -> Iterator[Finding]:
    for gpu in machine.survey.gpus:
        if gpu.ecc_uncorrected:
            yield Finding(
                severity="error",
                looked_at=f"ECC counters of GPU {gpu.index}",
                found=f"{gpu.ecc_uncorrected} uncorrected memory errors since the driver was loaded",
                why="engines crash or answer wrongly",
                mend=f"nvidia-smi -i {gpu.index} -q -d ECC,ROW_REMAPPER   # pending rows are mended by a reset; else replace it",
            )
        slowed = [reason for reason in gpu.throttles or () if reason != "power cap"]
        if slowed:
            yield Finding(
                severity="warning",
                looked_at=f"clocks of GPU {gpu.index}",
                found=f"slowed down: {', '.join(slowed)}"
                + (f", at {gpu.temperature_c} °C" if gpu.temperature_c is not None else ""),
                why="Poor performance: it cannot cool or feed itself",
                mend=f"nvidia-smi -i {gpu.index} -q -d TEMPERATURE,POWER,PERFORMANCE   # then fans, dust, air, power cables",
            )
