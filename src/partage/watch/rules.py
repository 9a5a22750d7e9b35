"""What is worth an alert: pure rules over a picture. Each says what it saw and how it is mended.

A sign that is `firm` raises an alert once it has stood for the rule's time; one that is not only keeps a raised alert
standing. That is the hysteresis: an alert raised at 90 % is not cleared at 89 %.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from partage.config import AlertsConfig
from partage.errors import ConfigError
from partage.quantities import format_bytes
from partage.watch.picture import Picture

Severity: TypeAlias = Literal["warning", "critical"]

SLACK_SHARE = 0.05
RECENT_S = 300.0
CRASHES, CRASH_WINDOW_S = 3, 600.0
LEAST_DEADLINES = 20
"""Below so many, one missed deadline would be more than any sensible share."""
LEASE_WAIT_S = 900.0
LEASE_SLACK_BYTES = 16 << 20
LEAST_DRIFT_BYTES = 256 << 20

XIDS = {
    13: "a kernel accessed memory it should not",
    31: "memory page fault of an application",
    43: "an application was stopped",
    45: "an application was stopped before its end",
    48: "double-bit ECC error: the memory is failing",
    63: "a memory row was remapped",
    64: "a memory row could not be remapped: replace the GPU",
    74: "NVLink error",
    79: "the GPU has fallen off the bus: power, heat or the slot",
    94: "contained ECC error",
    95: "uncontained ECC error: reset the GPU",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    subject: str
    message: str
    cure: str
    firm: bool = True


Check: TypeAlias = Callable[[Picture, AlertsConfig], Iterable[Sign]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    name: str
    severity: Severity
    check: Check
    for_s: float = 0.0
    clear_after_s: float = 30.0


def rules_of(limits: AlertsConfig) -> tuple[Rule, ...]:
    """All rules but those that are switched off. Raises ConfigError for a name that is none."""
    rules = (
        Rule(name="gpu_memory", severity="warning", check=gpu_memory, for_s=limits.gpu_memory_for_s),
        Rule(name="gpu_lost", severity="critical", check=gpu_lost, clear_after_s=5.0),
        Rule(name="gpu_error", severity="critical", check=gpu_error),
        Rule(name="cpu_fallback", severity="warning", check=cpu_fallback, for_s=5.0),
        Rule(name="out_of_memory", severity="critical", check=out_of_memory),
        Rule(name="does_not_fit", severity="warning", check=does_not_fit),
        Rule(name="container", severity="critical", check=container),
        Rule(name="crash_loop", severity="critical", check=crash_loop),
        Rule(name="queue_wait", severity="warning", check=queue_wait, for_s=5.0),
        Rule(name="deadline_misses", severity="warning", check=deadline_misses),
        Rule(name="thrash", severity="warning", check=thrash, for_s=60.0),
        Rule(name="ledger_drift", severity="warning", check=ledger_drift, for_s=30.0),
        Rule(name="lease_over", severity="warning", check=lease_over, for_s=10.0),
        Rule(name="lease_lost", severity="warning", check=lease_lost),
        Rule(name="lease_wait", severity="warning", check=lease_wait),
        Rule(name="pause_bound", severity="critical", check=pause_bound, for_s=3.0),
        Rule(name="disk", severity="warning", check=disk, for_s=10.0),
    )
    unknown = set(limits.off) - {rule.name for rule in rules}
    if unknown:
        raise ConfigError(
            f"alerts.off: there is no alert {', '.join(sorted(unknown))}; there are {', '.join(r.name for r in rules)}"
        )
    return tuple(rule for rule in rules if rule.name not in limits.off)


def gpu_memory(picture: Picture, limits: AlertsConfig) -> Iterator[Sign]:
    for device in picture.devices:
        if device.kind != "cuda" or device.used_bytes is None:
            continue
        share = device.used_bytes / device.total_bytes
        if share > limits.gpu_memory_share - SLACK_SHARE:
            yield Sign(
                subject=device.id,
                message=f"{device.name} is {share:.0%} full: {format_bytes(device.used_bytes)} of "
                f"{format_bytes(device.total_bytes)}, of which {format_bytes(device.ledger_bytes)} are our models",
                cure="`partage ps` and `partage top` show who holds it; unload a model, or raise devices[].reserve for others",
                firm=share > limits.gpu_memory_share,
            )


def gpu_lost(picture: Picture, limits: AlertsConfig) -> Iterator[Sign]:
    for device in picture.devices:
        if device.lost:
            said = f" (NVML says: {picture.gpu_error})" if picture.gpu_error else ""
            yield Sign(
                subject=device.id,
                message=f"{device.name} was there and is gone{said}. In a container that is most often systemd, which took "
                "the device away when it was reloaded (systemctl daemon-reload); models fall back to the CPU without a word",
                cure="restart the container. For good: name the devices (/dev/nvidia0, /dev/nvidiactl, /dev/nvidia-uvm) in "
                "`devices:`, or use CDI, or Docker's cgroupfs driver; `partage doctor` checks which applies",
            )


def gpu_error(picture: Picture, limits: AlertsConfig) -> Iterator[Sign]:
    for at_s, device, xid in picture.xids:
        if picture.now_s - at_s <= RECENT_S:
            yield Sign(
                subject=f"{device} XID {xid}",
                message=f"the driver reported XID {xid} on {device}: {XIDS.get(xid, 'see the list of XID errors')}",
                cure="`dmesg | grep -i xid` has the details; after 48, 64, 79 or 95 take the GPU out of service",
            )


def cpu_fallback(picture: Picture, limits: AlertsConfig) -> Iterator[Sign]:
    for name in picture.gpus_unused:
        yield Sign(
            subject=name,
            message=f"{name} is there, but no engine here can use it: every model runs on the CPU",
            cure="give the hub an engine built for CUDA and restart it: `partage engine build`, or see docs/gpu.md",
        )
    for model in picture.models:
        if model.on_gpu == "whole":
            continue
        how = "on the CPU, with a GPU beside it" if model.on_gpu == "not" else "with some of its layers on the CPU"
        yield Sign(
            subject=model.model,
            message=f"{model.model} runs {how}: many times slower than it could",
            cure=f"unload others, or give {model.model} less context, fewer slots or a smaller quantisation",
        )


def out_of_memory(picture: Picture, limits: AlertsConfig) -> Iterator[Sign]:
    for trouble in picture.troubles:
        if trouble.kind == "out_of_memory" and picture.now_s - trouble.at_s <= RECENT_S:
            yield Sign(
                subject=trouble.model,
                message=f"{trouble.model} ran out of memory while loading: {trouble.detail}",
                cure="others may hold what was promised (`partage ps`); raise devices[].reserve by what is missing",
            )


def does_not_fit(picture: Picture, limits: AlertsConfig) -> Iterator[Sign]:
    for model, arithmetic in picture.did_not_fit.items():
        yield Sign(
            subject=model,
            message=f"{model} was refused before it could run the device out of memory: {arithmetic}",
            cure=f"`partage plan` says what would fit; give {model} less context, fewer slots or a smaller quantisation",
        )


def container(picture: Picture, limits: AlertsConfig) -> Iterator[Sign]:
    for one in picture.containers:
        restarts = sum(picture.now_s - at_s <= CRASH_WINDOW_S for at_s in one.restarts)
        if one.oom_killed_s is not None and picture.now_s - one.oom_killed_s <= RECENT_S:
            yield Sign(
                subject=f"{one.name} memory",
                message=f"the kernel killed container {one.name} for its memory (exit 137)",
                cure=f"raise its limit (mem_limit or deploy.resources.limits.memory of {one.name}), or give it less to do at once",
            )
        if restarts >= CRASHES:
            yield Sign(
                subject=f"{one.name} restarts",
                message=f"container {one.name} was restarted {restarts} times in 10 minutes",
                cure=f"`docker logs --tail 50 {one.name}` has its last words",
            )
        if one.unhealthy:
            yield Sign(
                subject=f"{one.name} health",
                message=f"container {one.name} fails its health check",
                cure=f"`docker inspect --format '{{{{json .State.Health}}}}' {one.name}` shows what the check answered",
            )


def crash_loop(picture: Picture, limits: AlertsConfig) -> Iterator[Sign]:
    for model in sorted({trouble.model for trouble in picture.troubles}):
        own = [one for one in picture.troubles if one.model == model and picture.now_s - one.at_s <= CRASH_WINDOW_S]
        if len(own) >= CRASHES - 1:
            yield Sign(
                subject=model,
                message=f"the engine of {model} failed {len(own)} times in 10 minutes, last: {own[-1].detail or own[-1].kind}",
                cure=f"`partage show {model}` and the hub's log; pull the model again if its file is damaged",
                firm=len(own) >= CRASHES,
            )


def queue_wait(picture: Picture, limits: AlertsConfig) -> Iterator[Sign]:
    for client, count in picture.overdue.items():
        yield Sign(
            subject=client,
            message=f"{count} request{'s' * (count > 1)} of {client} wait for a slot past the client's own timeout",
            cure=f"raise the weight or class of {client}, its timeout, or the slots of its model",
        )


def deadline_misses(picture: Picture, limits: AlertsConfig) -> Iterator[Sign]:
    for client, (missed, count) in picture.deadlines.items():
        if count >= LEAST_DEADLINES and missed / count > limits.deadline_miss_share / 2:
            yield Sign(
                subject=client,
                message=f"{client} missed {missed} of {count} deadlines in 10 minutes ({missed / count:.1%})",
                cure=f"raise the class or weight of {client}, or its timeout; `partage simulate` tries either on the journal",
                firm=missed / count > limits.deadline_miss_share,
            )


def thrash(picture: Picture, limits: AlertsConfig) -> Iterator[Sign]:
    if picture.loading_share > limits.loading_share - SLACK_SHARE:
        yield Sign(
            subject="hub",
            message=f"{picture.loading_share:.0%} of the last 10 minutes went into loading models",
            cure="two models that are wanted at once do not fit together: smaller context or quantisation, or pin the one that "
            "is wanted most (`partage top`, key p)",
            firm=picture.loading_share > limits.loading_share,
        )


def ledger_drift(picture: Picture, limits: AlertsConfig) -> Iterator[Sign]:
    for device in picture.devices:
        if device.engines_bytes is None:
            continue
        more = device.engines_bytes - device.ledger_bytes
        limit = max(LEAST_DRIFT_BYTES, limits.drift_share * device.total_bytes)
        if more > limit / 2:
            yield Sign(
                subject=device.id,
                message=f"our engines hold {format_bytes(more)} more on {device.name} than the ledger says",
                cure="unload and load the models again; if it comes back, raise devices[].reserve and report it",
                firm=more > limit,
            )


def lease_over(picture: Picture, limits: AlertsConfig) -> Iterator[Sign]:
    for lease in picture.leases:
        more = lease.counted_bytes - lease.leased_bytes
        if more > 0:
            yield Sign(
                subject=lease.id,
                message=f"lease {lease.id} of {format_bytes(lease.leased_bytes)} uses {format_bytes(more)} more",
                cure="ask for as much as it needs, or set leases.over_limit to pause or kill; `partage top` (6) shows it",
                firm=more > LEASE_SLACK_BYTES,
            )


def lease_lost(picture: Picture, limits: AlertsConfig) -> Iterator[Sign]:
    for at_s, lease in picture.lost_leases:
        if picture.now_s - at_s <= RECENT_S:
            yield Sign(
                subject=lease,
                message=f"lease {lease} ended because nothing was heard of its holder; what it still has is a stranger's now",
                cure="`partage run` or its machine was frozen or cut off: look whether its program still runs, and end it",
            )


def lease_wait(picture: Picture, limits: AlertsConfig) -> Iterator[Sign]:
    for lease in picture.leases:
        if lease.waited_s is not None and lease.waited_s > LEASE_WAIT_S:
            yield Sign(
                subject=lease.id,
                message=f"lease {lease.id} of {format_bytes(lease.leased_bytes)} has waited for {lease.waited_s / 60:.0f} min, "
                f"at place {lease.position}",
                cure="`partage top` (6) shows who holds leases: end one, unpin a model, or ask for less",
            )


def pause_bound(picture: Picture, limits: AlertsConfig) -> Iterator[Sign]:
    for engine, paused_s in picture.paused_s.items():
        if paused_s > picture.pause_bound_s:
            yield Sign(
                subject=engine,
                message=f"{engine} has been paused for {paused_s:.0f} s, and should be for {picture.pause_bound_s:.0f} s at most",
                cure=f"`partage unload {engine.partition('#')[0]}` frees it; report it with `partage doctor --bundle`",
            )


def disk(picture: Picture, limits: AlertsConfig) -> Iterator[Sign]:
    if picture.disk_free_bytes is None or not picture.disk_total_bytes:
        return
    share = picture.disk_free_bytes / picture.disk_total_bytes
    if share < limits.disk_free_share + SLACK_SHARE / 2:
        yield Sign(
            subject="models",
            message=f"{format_bytes(picture.disk_free_bytes)} ({share:.1%}) free where the models are",
            cure="`partage ls` shows their sizes, `partage rm NAME` removes one",
            firm=share < limits.disk_free_share,
        )
