"""Every check, in the order a person would look: GPU, containers, host, services, journal."""

from __future__ import annotations

from partage.doctor import gpu_checks, host_checks, journal_checks
from partage.doctor.finding import EXIT_CODES, Check, Diagnosis
from partage.doctor.machine import Machine

CHECKS = (
    Check("driver", gpu_checks.driver),
    Check("nvml", gpu_checks.nvml),
    Check("device_access", gpu_checks.device_access),
    Check("container_gpu", gpu_checks.container_gpu),
    Check("visible_devices", gpu_checks.visible_devices),
    Check("engine_build", gpu_checks.engine_build),
    Check("driver_age", gpu_checks.driver_age),
    Check("parking", gpu_checks.parking),
    Check("compute_mode", gpu_checks.compute_mode),
    Check("mig", gpu_checks.mig),
    Check("mps", gpu_checks.mps),
    Check("persistence", gpu_checks.persistence),
    Check("unified_memory", gpu_checks.unified_memory),
    Check("other_programs", gpu_checks.other_programs),
    Check("gpu_health", gpu_checks.health),
    Check("runtime", host_checks.runtime),
    Check("cgroup_driver", host_checks.cgroup_driver),
    Check("pid_namespace", host_checks.pid_namespace),
    Check("shared_memory", host_checks.shared_memory),
    Check("docker_socket", host_checks.docker_socket),
    Check("memory", host_checks.memory),
    Check("page_cache", host_checks.page_cache),
    Check("disk", host_checks.disk),
    Check("ports", host_checks.ports),
    Check("clock", host_checks.clock),
    Check("permissions", host_checks.permissions),
    Check("versions", host_checks.versions),
    Check("settings", host_checks.settings),
    Check("leases", host_checks.leases),
    Check("alerts", host_checks.alerts),
    Check("thrash", journal_checks.thrash),
    Check("spills", journal_checks.spills),
    Check("out_of_memory", journal_checks.out_of_memory),
    Check("crashes", journal_checks.crashes),
    Check("slow_loads", journal_checks.slow_loads),
    Check("keep_alive", journal_checks.keep_alive),
)


def examine(machine: Machine) -> list[Diagnosis]:
    """What is wrong, the worst first; in one severity in the order of the checks."""
    found = [Diagnosis(check.name, finding) for check in CHECKS for finding in check.run(machine)]
    return sorted(found, key=lambda one: (-EXIT_CODES[one.finding.severity], one.finding.severity == "hint"))
