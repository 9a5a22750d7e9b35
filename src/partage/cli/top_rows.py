"""What `partage top` shows: the hub's answers as rows of cells, for the screen to lay out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

from partage.json_value import JsonObject, JsonValue
from partage.quantities import format_bytes

BAR = 30
Sortable: TypeAlias = "float | str"


@dataclass(frozen=True, slots=True)
class Cell:
    text: str
    order: Sortable
    """What it is sorted by."""


@dataclass(frozen=True, slots=True)
class Row:
    key: str
    cells: tuple[Cell, ...]
    detail: str = ""
    """The whole of what the cells cut short, for the line below the table."""
    halted: bool = False
    """Paused by hand."""

    def matches(self, words: str) -> bool:
        text = " ".join(cell.text for cell in self.cells).lower()
        return all(word in text for word in words.lower().split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Everything the hub said at one moment."""

    status: JsonObject
    alerts: JsonObject
    machine: JsonObject


TABS: Mapping[str, tuple[str, ...]] = {
    "models": ("MODEL", "STATE", "ON", "LEDGER", "MEASURED", "BUSY", "PIN"),
    "clients": ("CLIENT", "CLASS", "WAITS", "BUSY", "DONE", "REFUSED", "WAIT p95", "TTFT p95", "TOK/s"),
    "queue": ("MODEL", "POS", "CLIENT", "CLASS", "WAITED", "PREDICTED"),
    "alerts": ("SEVERITY", "ALERT", "ABOUT", "WHAT"),
    "containers": ("CONTAINER", "STATE", "MEMORY", "LIMIT", "CORES", "RESTARTS"),
    "leases": ("LEASE", "STATE", "CLIENT", "CLASS", "ON", "LEASED", "USED", "FOR", "POS", "PREDICTED"),
}


def rows_of(tab: str, picture: Picture) -> list[Row]:
    match tab:
        case "models":
            residents = _list(picture.status, "residents")
            here = {str(one["model"]) for one in residents}
            halted = cast("list[str]", picture.status.get("paused_by_hand") or [])
            return [*map(_model, residents), *(_halted(name) for name in halted if name not in here)]
        case "clients":
            return [_client(one) for one in _list(picture.status, "clients")]
        case "queue":
            return [_queued(one) for one in _list(picture.status, "queue")]
        case "leases":
            return [_lease(one) for one in _list(picture.status, "leases")]
        case "alerts":
            return [_alert(one) for one in _list(picture.alerts, "standing")]
        case _:
            return [_container(one) for one in _list(picture.machine, "containers")]


def device_lines(picture: Picture) -> list[str]:
    """One line per device: a bar of what is promised (#), others' (x) and free (.), then the reading."""
    readings = {str(one["uuid"]): one for one in _list(picture.machine, "gpus")}
    lines = [_device(one, readings.get(str(one["id"]))) for one in _list(picture.status, "devices")]
    error = picture.machine.get("gpu_error")
    return [*lines, f"NVML: {error}"] if error else lines


def sorted_rows(rows: Sequence[Row], column: int, *, descending: bool) -> list[Row]:
    """Numbers before words, so that "-" is always at one end."""
    return sorted(
        rows, key=lambda row: (isinstance(row.cells[column].order, str), row.cells[column].order), reverse=descending
    )


def _device(one: JsonObject, reading: JsonObject | None) -> str:
    budget = max(1.0, _number(one, "budget_bytes"))
    held = sum(_number(one, part) for part in ("residents_bytes", "loading_bytes", "leases_bytes"))
    ours, others = (round(BAR * part / budget) for part in (held, _number(one, "strangers_bytes")))
    ours = min(ours, BAR)
    others = min(others, BAR - ours)
    bar = "#" * ours + "x" * others + "." * (BAR - ours - others)
    line = f"{str(one['name'])[:18]:18} {bar} {format_bytes(_number(one, 'free_bytes')):>8} free"
    if reading is None:
        return line
    parts = (("utilisation_percent", "%"), ("temperature_c", "°C"), ("power_w", "W"))
    shown = [f"{reading[name]:.0f}{unit}" for name, unit in parts if isinstance(reading.get(name), int | float)]
    return f"{line} {' '.join(shown)}"


def _model(one: JsonObject) -> Row:
    devices = [str(device) for device in cast("list[JsonValue]", one["devices"])]
    away = "RAM" if one["state"] == "parked" else "adopted"
    on = ", ".join("host" if device == "host" else device[:8] for device in devices) or away
    return Row(
        str(one["model"]),
        (
            _words(one["model"]),
            _words(_state(one)),
            _words(on),
            _bytes(one.get("parked_bytes") or one["ledger_bytes"]),
            _bytes(one["measured_bytes"]),
            Cell(f"{one['serving']}/{one['slots']}", _number(one, "serving")),
            _words("pin" if one["pinned"] else ""),
        ),
        f"{one['engine']} on {', '.join(devices) or ('RAM' if away == 'RAM' else 'its own server')}, "
        f"context {one['context_tokens']}",
        halted=bool(one.get("paused_by_hand")),
    )


def _halted(name: str) -> Row:
    """A model that is not in memory, and will not be before it is let go."""
    cells = (_words(name), _words("by hand"), *(_words("-") for _ in range(3)), _words("0"), _words(""))
    return Row(name, cells, f"{name} is paused by hand: nothing is loaded for those who wait for it", halted=True)


def _state(one: JsonObject) -> str:
    """There is room for one of them, and who knows how knows the state."""
    return str(one.get("how") or one["state"])


def _client(one: JsonObject) -> Row:
    wait, first, speed = (_p95(one, name) for name in ("queued_s", "ttft_s", "tokens_per_s"))
    return Row(
        str(one["name"]),
        (
            _words(one["name"]),
            _words(one["class"]),
            _count(one.get("queued")),
            _count(one.get("serving")),
            _count(one["done"]),
            _count(one["refused"]),
            _seconds(wait),
            _seconds(first),
            Cell("-", "-") if speed is None else Cell(f"{speed:.0f}", speed),
        ),
        f"weight {one['weight']}, {one['prompt_tokens']} tokens in, {one['output_tokens']} out, {one['failed']} failed",
    )


def _queued(one: JsonObject) -> Row:
    return Row(
        str(one["request"]),
        (
            _words(one["model"]),
            _count(one["position"]),
            _words(one["client"]),
            _words(one["class"]),
            _seconds(_number(one, "waited_s")),
            _seconds(_number(one, "predicted_wait_s")),
        ),
    )


def _lease(one: JsonObject) -> Row:
    position = one.get("position")
    return Row(
        str(one["id"]),
        (
            _words(one["name"]),
            _words(_state(one)),
            _words(one["client"]),
            _words(one["class"]),
            _words("host" if one["device"] == "host" else str(one["device"])[:8]),
            _bytes(one["bytes"]),
            _bytes(one["measured_bytes"]),
            _seconds(_number(one, "since_s")),
            _words("" if position is None else position),
            _seconds(None if position is None else _number(one, "predicted_wait_s")),
        ),
        f"{one['id']} on {one['device'] or 'whichever device is free first'}",
        halted=bool(one.get("paused_by_hand")),
    )


def _alert(one: JsonObject) -> Row:
    return Row(
        f"{one['rule']}/{one['subject']}",
        (_words(one["severity"]), _words(one["rule"]), _words(one["subject"]), _words(one["message"])),
        f"{one['message']} - {one['cure']}",
    )


def _container(one: JsonObject) -> Row:
    state = str(one["health"] or ("running" if one["running"] else "stopped")) + (" OOM" if one["oom_killed"] else "")
    cores = one["cpu_cores"]
    return Row(
        str(one["name"]),
        (
            _words(one["name"]),
            _words(state),
            _bytes(one["memory_bytes"]),
            _bytes(one["memory_limit_bytes"]),
            Cell(f"{cores:.1f}", cores) if isinstance(cores, int | float) else Cell("-", "-"),
            _count(one["restarts"]),
        ),
        str(one["image"]),
    )


def _list(answer: JsonObject, name: str) -> list[JsonObject]:
    return cast("list[JsonObject]", answer.get(name) or [])


def _number(one: JsonObject, name: str) -> float:
    value = one.get(name)
    return float(value) if isinstance(value, int | float) else 0.0


def _p95(one: JsonObject, name: str) -> float | None:
    spread = one.get(name)
    value = spread.get("p95") if isinstance(spread, dict) else None
    return float(value) if isinstance(value, int | float) else None


def _words(value: JsonValue) -> Cell:
    return Cell(str(value), str(value).lower())


def _bytes(value: JsonValue) -> Cell:
    return Cell(format_bytes(value), float(value)) if isinstance(value, int | float) else Cell("-", "-")


def _count(value: JsonValue) -> Cell:
    return Cell(str(value), float(value)) if isinstance(value, int | float) else Cell("0", 0.0)


def _seconds(value: float | None) -> Cell:
    if value is None:
        return Cell("-", "-")
    return Cell(
        f"{value * 1e3:.0f} ms" if value < 1 else f"{value:.1f} s" if value < 100 else f"{value / 60:.0f} m", value
    )
