"""Everything the pages draw, as plain data: made once per poll, the same for every open page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from partage.client.wire import ModelInfo
from partage.dashboard import activity
from partage.dashboard.leased import leases
from partage.dashboard.memory import memory_map, state_text
from partage.dashboard.numbers import UNKNOWN, seconds
from partage.dashboard.rates import Rates
from partage.dashboard.residency import timeline
from partage.dashboard.shades import Shades
from partage.dashboard.status import Alert, Alerts, Container, Machine, Status
from partage.json_value import JsonObject, JsonValue
from partage.quantities import format_bytes

SHOWN_PAST_ALERTS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Away:
    """The hub does not answer."""

    message: str
    since: str
    """Time of day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What the hub said last. None: it has no such thing."""

    status: Status
    models: Sequence[ModelInfo] = ()
    alerts: Alerts | None = None
    machine: Machine | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    away: Away | None = None
    at_s: float = 0.0
    """On the hub's clock: when this was so."""
    panels: JsonObject = field(default_factory=dict[str, JsonValue])
    """Panel -> what it draws; a panel that is not here is not shown. Empty before the hub was first heard."""


def draw(heard: Heard, rates: Rates, shades: Shades, *, unix_s: float) -> Picture:
    status, machine = heard.status, heard.machine
    gpus = {gpu.uuid: gpu for gpu in machine.gpus} if machine else {}
    panels: JsonObject = {
        "figures": [*activity.figures(status, rates.lines)],
        "memory": [*memory_map(status, shades, gpus)],
        "queue": [*activity.queue(status, shades)],
        "timeline": timeline(status, shades),
        "clients": [*activity.clients(status, rates.lines)],
        "models": [*_models(heard, shades)],
    }
    if status.leases:
        panels["leases"] = [*leases(status)]
    if heard.alerts is not None:
        panels["alerts"] = _alerts(heard.alerts, unix_s)
    if machine is not None and (machine.docker or machine.containers):
        panels["containers"] = [_container(one) for one in machine.containers]
    return Picture(at_s=status.now_s, panels=panels)


def _models(heard: Heard, shades: Shades) -> list[JsonObject]:
    residents = {one.model: one for one in heard.status.residents}
    return [
        {
            "name": model.name,
            "tone": shades.of(model.name) if model.name in residents else None,
            "size": format_bytes(model.size_bytes),
            "details": " · ".join(
                filter(None, (model.details.get("parameter_size"), model.details.get("quantization_level")))
            ),
            "can": [*sorted(model.capabilities)],
            "state": residents[model.name].state if model.name in residents else "",
            "state_text": state_text(residents[model.name]) if model.name in residents else "",
            "halted": model.name in heard.status.paused_by_hand,
            "serving": residents[model.name].serving if model.name in residents else 0,
            "pinned": model.name in residents and residents[model.name].pinned,
        }
        for model in sorted(heard.models, key=lambda model: (model.name not in residents, model.name))
    ]


def _alerts(alerts: Alerts, unix_s: float) -> JsonObject:
    past = [alert for alert in alerts.history if alert.cleared_at is not None][:SHOWN_PAST_ALERTS]
    return {
        "standing": [_alert(alert, unix_s) for alert in alerts.standing],
        "past": [_alert(alert, unix_s) for alert in past],
    }


def _alert(alert: Alert, unix_s: float) -> JsonObject:
    if alert.cleared_at is None:
        when = f"for {seconds(max(0.0, unix_s - alert.raised_at))}"
    else:
        when = f"over {seconds(max(0.0, unix_s - alert.cleared_at))} ago"
    return {
        "rule": alert.rule.replace("_", " "),
        "subject": alert.subject,
        "severity": alert.severity,
        "message": alert.message,
        "cure": alert.cure,
        "when": when,
    }


def _container(one: Container) -> JsonObject:
    memory = UNKNOWN if one.memory_bytes is None else format_bytes(one.memory_bytes)
    if one.memory_limit_bytes:
        memory += f" of {format_bytes(one.memory_limit_bytes)}"
    return {
        "name": one.name,
        "image": one.image,
        "state": "running" if one.running else "stopped",
        "health": one.health or "",
        "memory": memory,
        "cores": UNKNOWN if one.cpu_cores is None else f"{one.cpu_cores:.1f}",
        "restarts": one.restarts,
        "killed": one.oom_killed,
        "client": one.labels.get("partage.client", ""),
    }
