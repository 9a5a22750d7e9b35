"""What is going on: who waits for what and how long, what every client gets, and the figures above it all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from partage.dashboard.numbers import rate, seconds
from partage.dashboard.shades import Shades
from partage.dashboard.status import Client, Queued, Status
from partage.json_value import JsonObject

SHOWN_PER_CLIENT = 8
SHOWN_CLIENTS = 50
CLASSES = {"interactive": 0, "normal": 1, "batch": 2}


def queue(status: Status, shades: Shades) -> list[JsonObject]:
    """Per client, the most urgent class first: its requests that wait, each with place, wait so far and wait to come."""
    by_client: dict[str, list[Queued]] = {}
    for waiting in status.queue:
        by_client.setdefault(waiting.client, []).append(waiting)
    ordered = sorted(by_client.items(), key=lambda item: (CLASSES.get(item[1][0].class_, 1), item[0]))
    return [_waiting(name, waiting, shades) for name, waiting in ordered[:SHOWN_CLIENTS]]


def _waiting(name: str, waiting: Sequence[Queued], shades: Shades) -> JsonObject:
    soonest = sorted(waiting, key=lambda one: (one.predicted_wait_s, one.position))
    return {
        "client": name,
        "class": waiting[0].class_,
        "count": len(waiting),
        "more": max(0, len(waiting) - SHOWN_PER_CLIENT),
        "requests": [
            {
                "id": one.request,
                "model": one.model,
                "tone": shades.of(one.model),
                "position": one.position,
                "waited": seconds(one.waited_s),
                "to_come": seconds(one.predicted_wait_s),
                "passed": _passed(one),
            }
            for one in soonest[:SHOWN_PER_CLIENT]
        ],
    }


def _passed(one: Queued) -> float:
    """Share of its wait that is behind it, 0..1."""
    whole_s = one.waited_s + max(0.0, one.predicted_wait_s)
    return round(one.waited_s / whole_s, 3) if whole_s > 0 else 0.0


def clients(status: Status, rates: Mapping[str, Sequence[float]]) -> list[JsonObject]:
    """`rates`: per client its tokens per second, second by second, the latest last. The busiest first."""
    ordered = sorted(
        status.clients, key=lambda one: (-(one.serving + one.queued), CLASSES.get(one.class_, 1), one.name)
    )
    return [_client(one, rates.get(one.name, ())) for one in ordered[:SHOWN_CLIENTS]]


def _client(one: Client, rates: Sequence[float]) -> JsonObject:
    return {
        "name": one.name,
        "class": one.class_,
        "weight": rate(one.weight),
        "serving": one.serving,
        "queued": one.queued,
        "requests": one.requests,
        "trouble": one.failed + one.refused,
        "refused": one.refused,
        "failed": one.failed,
        "rate": rate(rates[-1] if rates else 0.0),
        "line": spark(rates),
        "speed": rate(one.tokens_per_s.p50),
        "wait": seconds(one.queued_s.p50),
        "wait_p95": seconds(one.queued_s.p95),
        "ttft": seconds(one.ttft_s.p50),
        "ttft_p95": seconds(one.ttft_s.p95),
        "used": seconds(one.served_s),
    }


def spark(values: Sequence[float]) -> str:
    """SVG points in a box of 100 x 20, as high as the greatest value; empty where nothing happened."""
    top = max(values, default=0.0)
    if top <= 0 or len(values) < 2:
        return ""
    step = 100 / (len(values) - 1)
    return " ".join(f"{index * step:.1f},{19 - 18 * value / top:.1f}" for index, value in enumerate(values))


def figures(status: Status, rates: Mapping[str, Sequence[float]]) -> list[JsonObject]:
    """The few numbers that say whether all is well."""
    longest_s = max((one.waited_s for one in status.queue), default=None)
    loading = sum(one.state == "loading" for one in status.residents)
    parked = sum(one.state == "parked" for one in status.residents)
    models = f"{len(status.residents) - parked}" + (f", {loading} loading" if loading else "")
    return [
        {"label": "Models in memory", "value": models},
        {"label": "Being served", "value": str(sum(one.serving for one in status.residents))},
        {"label": "Waiting", "value": str(len(status.queue))},
        {"label": "Longest wait now", "value": seconds(longest_s)},
        {"label": "Tokens per second", "value": rate(sum(line[-1] for line in rates.values() if line))},
    ]
