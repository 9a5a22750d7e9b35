"""Containers, memory, disk, ports, clock, permissions and settings: what surrounds the engines."""

from __future__ import annotations

from collections.abc import Iterator

from partage.doctor.finding import Finding
from partage.doctor.machine import Machine
from partage.quantities import format_bytes

LEAST_SHM_BYTES = 256 << 20
SLOW_DISK_BYTES_PER_S = 200e6
LEAST_FREE_SHARE = 0.05
MUCH_SWAP_BYTES = 1 << 30
YEAR_2025_S = 1_735_689_600
CLOCK_SLACK_S = 120.0


def runtime(machine: Machine) -> Iterator[Finding]:
    docker = machine.docker
    if docker is None or not machine.has_gpu or machine.in_container or "nvidia" in docker.runtimes or docker.cdi:
        return
    install = "" if machine.toolkit else "sudo apt install nvidia-container-toolkit && "
    yield Finding(
        severity="error",
        looked_at="`docker info` and nvidia-ctk on the PATH",
        found=f"Docker {docker.version} knows the runtimes {', '.join(docker.runtimes) or 'none'}, not nvidia"
        + ("" if machine.toolkit else "; the NVIDIA container toolkit is not installed"),
        why='No GPU detected in containers: "could not select device driver with capabilities: [[gpu]]"',
        mend=f"{install}sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker",
    )


def cgroup_driver(machine: Machine) -> Iterator[Finding]:
    docker = machine.docker
    if docker is None or not machine.has_gpu or docker.cgroup_driver != "systemd" or docker.cdi:
        return
    yield Finding(
        severity="warning",
        looked_at="`docker info`: cgroup driver",
        found="Docker uses the systemd cgroup driver, without CDI",
        why='systemctl daemon-reload takes the GPU away from running containers: "Failed to initialize NVML: Unknown Error", '
        "and models go on on the CPU",
        mend="sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml   # then `driver: cdi` in compose; or list /dev/nvidia0, "
        "/dev/nvidiactl, /dev/nvidia-uvm under `devices:`",
    )


def pid_namespace(machine: Machine) -> Iterator[Finding]:
    if machine.in_container and machine.survey.gpus and machine.host_pids is False:
        yield Finding(
            severity="hint",
            looked_at="/proc/self/ns/pid",
            found="this container has process ids of its own; the driver speaks of the host's",
            why="who holds the GPU's memory cannot be named from here",
            mend="pid: host   # in the hub's service, then `docker compose up -d`",
        )


def shared_memory(machine: Machine) -> Iterator[Finding]:
    if machine.in_container and machine.shm_bytes is not None and machine.shm_bytes < LEAST_SHM_BYTES:
        yield Finding(
            severity="warning",
            looked_at="/dev/shm",  # noqa: S108 looked at, not written
            found=f"it has {format_bytes(machine.shm_bytes)}",
            why='PyTorch and vLLM hand tensors over in it: "Bus error", or "insufficient shared memory (shm)"',
            mend="shm_size: 1gb   # in the service, then `docker compose up -d`",
        )


def docker_socket(machine: Machine) -> Iterator[Finding]:
    if machine.docker_socket_refused:
        yield Finding(
            severity="hint",
            looked_at="/var/run/docker.sock",
            found="it is there, but may not be opened by this user",
            why="containers are known by their address only; their restarts and out-of-memory kills go unseen",
            mend="sudo usermod -aG docker $USER   # then log in again; or group_add in the hub's service",
        )


def memory(machine: Machine) -> Iterator[Finding]:
    load, largest = machine.load, machine.largest_model
    if (
        largest is not None
        and load.total_bytes is not None
        and not machine.survey.gpus
        and largest[1] > 0.8 * load.total_bytes
    ):
        yield Finding(
            severity="warning",
            looked_at="RAM against the models",
            found=f"{largest[0]} has {format_bytes(largest[1])}, the machine {format_bytes(load.total_bytes)} of RAM",
            why="it can never be loaded here: requests for it are answered with 507",
            mend=f"partage rm {largest[0]}   # and pull a smaller quantisation",
        )
    if (load.swap_used_bytes or 0) > MUCH_SWAP_BYTES:
        yield Finding(
            severity="warning",
            looked_at="swap",
            found=f"{format_bytes(load.swap_used_bytes or 0)} of swap are in use",
            why="Poor performance: a model whose weights are swapped out answers hundreds of times slower",
            mend="ps -eo rss,comm --sort=-rss | head   # then stop what is not needed, or lower devices[].memory of the host",
        )


def page_cache(machine: Machine) -> Iterator[Finding]:
    load, largest = machine.load, machine.largest_model
    if largest is None or load.available_bytes is None or load.available_bytes >= largest[1]:
        return
    yield Finding(
        severity="hint",
        looked_at="memory that the page cache could use, against the largest model",
        found=f"{format_bytes(load.available_bytes)} for {largest[0]} with {format_bytes(largest[1])}",
        why="it is read from the disk at every load instead of from memory: swaps take the disk's time",
        mend="free -h   # more memory, or fewer programs beside the hub",
    )


def disk(machine: Machine) -> Iterator[Finding]:
    load, largest = machine.load, machine.largest_model
    if load.disk_free_bytes is not None and load.disk_total_bytes:
        share = load.disk_free_bytes / load.disk_total_bytes
        if share < LEAST_FREE_SHARE:
            yield Finding(
                severity="warning",
                looked_at=f"the file system of {machine.home}",
                found=f"{format_bytes(load.disk_free_bytes)} free ({share:.1%})",
                why="pulls fail, and the journal and history end",
                mend="partage ls   # and `partage rm NAME` for what is not used",
            )
    speed = machine.disk_bytes_per_s
    if speed is not None and speed < SLOW_DISK_BYTES_PER_S:
        takes = f"; {largest[0]} takes {largest[1] / speed:.0f} s" if largest is not None else ""
        yield Finding(
            severity="warning",
            looked_at="reading a model's file past the page cache",
            found=f"{speed / 1e6:.0f} MB/s{takes}",
            why="every load that is not cached waits for the disk",
            mend=f"mv {machine.home} /FAST/DISK/partage && export PARTAGE_HOME=/FAST/DISK/partage",
        )


def ports(machine: Machine) -> Iterator[Finding]:
    for one in machine.ports:
        if one.holder is None or one.ours:
            continue
        who = one.holder or "a program of another user"
        is_ollama = "ollama" in who.lower()
        yield Finding(
            severity="error",
            looked_at=f"port {one.port}, for {one.service}",
            found=f"{who} has it",
            why=f"{one.service} cannot start" + ("; two servers on one GPU fight for its memory" if is_ollama else ""),
            mend="sudo systemctl disable --now ollama"
            if is_ollama
            else f"sudo ss -ltnp 'sport = :{one.port}'   # stop it, or set {one.service}.port in partage.yaml",
        )


def clock(machine: Machine) -> Iterator[Finding]:
    ahead_s = 0.0 if machine.newest_file_s is None else machine.newest_file_s - machine.unix_s
    if machine.unix_s < YEAR_2025_S or ahead_s > CLOCK_SLACK_S:
        yield Finding(
            severity="warning",
            looked_at="the clock, against the year and the journal's last line",
            found="it is before 2025"
            if machine.unix_s < YEAR_2025_S
            else f"the journal was written {ahead_s:.0f} s from now",
            why="certificates look invalid (pulls fail), and alerts and metrics stand at the wrong time",
            mend="sudo timedatectl set-ntp true",
        )


def permissions(machine: Machine) -> Iterator[Finding]:
    if not machine.home_writable:
        yield Finding(
            severity="error",
            looked_at=machine.home,
            found="it may not be written",
            why="no model can be pulled and no engine started",
            mend=f"sudo chown -R $(id -u):$(id -g) {machine.home}   # on a read-only disk: set PARTAGE_HOME to another",
        )
    if machine.run_dir_mode is not None and machine.run_dir_mode & 0o077:
        yield Finding(
            severity="warning",
            looked_at=f"{machine.home}/run",
            found=f"its mode is {machine.run_dir_mode:o}: others may enter",
            why="the engines' sockets are in it; who reaches them reaches the models past the hub",
            mend=f"chmod 700 {machine.home}/run",
        )


def versions(machine: Machine) -> Iterator[Finding]:
    if machine.hub is not None and machine.hub.version and machine.version and machine.hub.version != machine.version:
        yield Finding(
            severity="warning",
            looked_at="the running hub's version",
            found=f"the hub is {machine.hub.version}, this command {machine.version}",
            why="it was upgraded and not started again",
            mend="docker compose up -d --force-recreate hub   # or stop and start `partage up`",
        )


def settings(machine: Machine) -> Iterator[Finding]:
    for warning in machine.settings_without_effect:
        name = warning.split(" ", 1)[0]
        yield Finding(
            severity="warning",
            looked_at="the environment and partage.yaml",
            found=warning,
            why="what it was meant to do is not done",
            mend=f"unset {name}   # and remove it from .env and compose.yaml",
        )


def leases(machine: Machine) -> Iterator[Finding]:
    for lease in machine.hub.leases if machine.hub else ():
        if lease.stopped_pids and not lease.paused:
            pids = " ".join(map(str, lease.stopped_pids))
            yield Finding(
                severity="warning",
                looked_at=f"the holder of lease {lease.id}",
                found=f"its process {pids} is stopped, and not by the hub (Ctrl-Z, a debugger, kill -STOP)",
                why=f"it holds {format_bytes(lease.bytes_)} and does nothing with it, while others wait",
                mend=f"kill -CONT {pids}   # or end it: kill {pids}",
            )


def alerts(machine: Machine) -> Iterator[Finding]:
    for severity, rule, message, cure in machine.hub.alerts if machine.hub else ():
        yield Finding(
            severity="error" if severity == "critical" else "warning",
            looked_at=f"the hub's alerts: {rule}",
            found=message,
            why="it stands now",
            mend=cure,
        )
