"""Counts what each client asked for and got: requests, waiting, time to first token, tokens per second."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from partage.domain import Client, RequestId
from partage.errors import PartageError
from partage.hub.views import Timing
from partage.json_value import JsonObject
from partage.policy.actions import Action, Refuse
from partage.policy.events import Event, RequestArrived, RequestFinished, RequestProgressed
from partage.work import Usage

REMEMBERED = 1000
"""Requests per client that the percentiles are taken from."""
MAX_CLIENTS = 1000
"""Anonymous callers are clients by address: without a bound, addresses would be a leak."""


@dataclass(slots=True)
class Samples:
    """The last values, as they came and in order of size: whoever looks need not sort them."""

    _arrived: deque[float] = field(default_factory=deque[float])
    _ordered: list[float] = field(default_factory=list[float])

    def append(self, value: float) -> None:
        if len(self._arrived) == REMEMBERED:
            del self._ordered[bisect_left(self._ordered, self._arrived.popleft())]
        self._arrived.append(value)
        insort(self._ordered, value)

    def to_json(self) -> JsonObject:
        """p50, p95 and the greatest, by the nearest rank; empty without samples."""
        ordered = self._ordered
        if not ordered:
            return {}
        last = len(ordered) - 1
        return {"p50": ordered[round(last * 0.5)], "p95": ordered[round(last * 0.95)], "max": ordered[last]}


@dataclass(slots=True)
class ClientStats:
    client: Client
    requests: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    refused: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    streamed_tokens: int = 0
    """Output so far, answers under way included."""
    queued_s: Samples = field(default_factory=Samples)
    load_s: Samples = field(default_factory=Samples)
    ttft_s: Samples = field(default_factory=Samples)
    tokens_per_s: Samples = field(default_factory=Samples)


class Stats:
    """Satisfies ports.Observer, to see answers grow."""

    def __init__(self) -> None:
        self.clients: dict[str, ClientStats] = {}
        self._growing: dict[RequestId, tuple[str, int]] = {}
        """Client and output tokens counted so far."""

    def of(self, client: Client) -> ClientStats:
        known = self.clients.get(client.name)
        if known is None:
            if len(self.clients) >= MAX_CLIENTS:
                self.clients.pop(next(iter(self.clients)))
            known = self.clients[client.name] = ClientStats(client)
        return known

    def ended(self, client: Client, outcome: str, timing: Timing, usage: Usage | None) -> None:
        stats = self.of(client)
        match outcome:
            case "done":
                stats.done += 1
            case "cancelled":
                stats.cancelled += 1
            case "refused":
                stats.refused += 1
            case _:
                stats.failed += 1
        stats.queued_s.append(timing.queued_s)
        stats.load_s.append(timing.load_s)
        if timing.first_output_s is not None:
            stats.ttft_s.append(timing.first_output_s)
        if usage is not None:
            stats.prompt_tokens += usage.prompt_tokens
            stats.output_tokens += usage.output_tokens
            if usage.decode_s > 0:
                stats.tokens_per_s.append(usage.output_tokens / usage.decode_s)

    def decided(self, at_s: float, event: Event, actions: Sequence[Action]) -> None:
        match event:
            case RequestArrived(demand=demand):
                self._growing[demand.id] = (demand.client, 0)
            case RequestProgressed(request=request, output_tokens=tokens):
                self._grow(request, tokens)
            case RequestFinished(request=request, output_tokens=tokens):
                self._grow(request, tokens)
                self._growing.pop(request, None)
            case _:
                pass
        for action in actions:
            if isinstance(action, Refuse):
                self._growing.pop(action.request, None)

    def refused(self, client: Client, model: str, error: PartageError) -> None:
        """Hub counts those itself, before there is a request."""

    def _grow(self, request: RequestId, tokens: int) -> None:
        client, counted = self._growing.get(request, ("", tokens))
        if client in self.clients:
            self.clients[client].streamed_tokens += max(0, tokens - counted)
            self._growing[request] = (client, max(tokens, counted))  # an answer made anew begins with less

    def to_json(self) -> list[JsonObject]:
        return [
            {
                "name": stats.client.name,
                "class": stats.client.class_.name.lower(),
                "weight": stats.client.weight,
                "requests": stats.requests,
                "done": stats.done,
                "failed": stats.failed,
                "cancelled": stats.cancelled,
                "refused": stats.refused,
                "prompt_tokens": stats.prompt_tokens,
                "output_tokens": stats.output_tokens,
                "streamed_tokens": stats.streamed_tokens,
                "queued_s": stats.queued_s.to_json(),
                "load_s": stats.load_s.to_json(),
                "ttft_s": stats.ttft_s.to_json(),
                "tokens_per_s": stats.tokens_per_s.to_json(),
            }
            for stats in self.clients.values()
        ]
