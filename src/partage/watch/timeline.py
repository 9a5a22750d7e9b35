"""What the alerts need to know of the last minutes: loads and how they ended, engines that died, models that did not fit."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from partage.domain import Client, EngineId
from partage.errors import CannotFit, PartageError
from partage.policy.actions import Action, StartEngine, StopEngine
from partage.policy.events import EngineFailed, EngineGone, EngineReady, Event
from partage.watch.metrics import stop_cause

MOST_SPANS = 1000
MOST_REFUSALS = 100

End: TypeAlias = Literal["evicted", "idle", "asked", "crashed", "failed", "out_of_memory"]


@dataclass(slots=True, kw_only=True)
class Span:
    """One engine's stay in memory. Seconds on the hub's clock."""

    engine: EngineId
    model: str
    asked_s: float
    ready_s: float | None = None
    ended_s: float | None = None
    end: End | None = None
    detail: str = ""
    """What the engine last said, where it failed; for whom it left, where it was evicted."""

    @property
    def trouble(self) -> bool:
        return self.end in ("crashed", "failed", "out_of_memory")


class Timeline:
    """An observer of the hub."""

    def __init__(self) -> None:
        self._past: deque[Span] = deque(maxlen=MOST_SPANS)
        self._now: dict[EngineId, Span] = {}
        self._did_not_fit: deque[tuple[float, str, str]] = deque(maxlen=MOST_REFUSALS)
        self._last_s = 0.0
        """When the hub last told something: refusals come without a time, right after their event."""

    def refused(self, client: Client, model: str, error: PartageError) -> None:
        if isinstance(error, CannotFit):
            self._did_not_fit.append((self._last_s, model, error.message))

    def decided(self, at_s: float, event: Event, actions: Sequence[Action]) -> None:
        self._last_s = at_s
        match event:
            case EngineReady(engine=engine) if engine in self._now:
                self._now[engine].ready_s = at_s
            case EngineFailed(engine=engine, reason=reason, out_of_memory=out_of_memory):
                self._ended(engine, at_s, "out_of_memory" if out_of_memory else "failed", reason)
            case EngineGone(engine=engine, crashed=crashed):
                self._ended(engine, at_s, "crashed" if crashed else None, "")
            case _:
                pass
        for action in actions:
            match action:
                case StartEngine():
                    self._asked(action, at_s)
                case StopEngine(engine=engine, reason=reason) if engine in self._now:
                    self._now[engine].end = stop_cause(reason)
                    self._now[engine].detail = reason
                case _:
                    pass

    def troubles(self, since_s: float) -> list[Span]:
        """Loads that failed and engines that died."""
        return [span for span in self._past if span.trouble and (span.ended_s or 0.0) >= since_s]

    def did_not_fit(self, since_s: float) -> dict[str, str]:
        """Model -> the arithmetic of its last refusal."""
        return {model: message for at_s, model, message in self._did_not_fit if at_s >= since_s}

    def loading_share(self, now_s: float, window_s: float) -> float:
        """Part of the last `window_s` in which something was being loaded, however many at a time."""
        begin_s = now_s - window_s
        covered_s, reached_s = 0.0, begin_s
        for start_s, end_s in sorted(self._loads(now_s)):
            if end_s > reached_s:
                covered_s += end_s - max(start_s, reached_s)
                reached_s = end_s
        return covered_s / window_s

    def _loads(self, now_s: float) -> Iterator[tuple[float, float]]:
        for span in (*self._past, *self._now.values()):
            end_s = span.ready_s if span.ready_s is not None else span.ended_s
            yield span.asked_s, now_s if end_s is None else end_s

    def _asked(self, order: StartEngine, at_s: float) -> None:
        self._now[order.engine] = Span(
            engine=order.engine,
            model=order.model,
            asked_s=at_s,
        )

    def _ended(self, engine: EngineId, at_s: float, end: End | None, detail: str) -> None:
        span = self._now.pop(engine, None)
        if span is None:
            return
        span.ended_s = at_s
        if end is not None:
            span.end, span.detail = end, detail
        self._past.append(span)
