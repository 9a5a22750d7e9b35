"""What the hub's journal tells of the last hours: loads, evictions, failures, spills, and clients that fight the server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from partage.journal_format import ActionsLine, EventLine, JournalLine, SettingsLine
from partage.policy.actions import Action, StartEngine, StopEngine
from partage.policy.events import EngineFailed, EngineGone, EngineReady, Event, RequestArrived


@dataclass(frozen=True, slots=True, kw_only=True)
class Symptoms:
    spanned_s: float = 0.0
    """Time the journal covers."""
    loading_s: float = 0.0
    slowest_load: tuple[str, float] | None = None
    """(model, seconds)."""
    evictions: Mapping[str, int] = field(default_factory=dict[str, int])
    """Model -> how often it left for another."""
    out_of_memory: Mapping[str, int] = field(default_factory=dict[str, int])
    crashes: Mapping[str, int] = field(default_factory=dict[str, int])
    spills: Mapping[str, int] = field(default_factory=dict[str, int])
    """Model -> loads with some or all layers on the host, though others of its loads were not."""
    keep_alives: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    """Client -> (requests that set keep_alive themselves, all)."""


class SymptomReader:
    """Fed line by line; the journal may begin anywhere."""

    def __init__(self) -> None:
        self._first_s: float | None = None
        self._last_s = 0.0
        self._models: dict[str, str] = {}
        self._loading_s = 0.0
        self._slowest: tuple[str, float] | None = None
        self._evictions: Counter[str] = Counter()
        self._out_of_memory: Counter[str] = Counter()
        self._crashes: Counter[str] = Counter()
        self._spills: Counter[str] = Counter()
        self._set: Counter[str] = Counter()
        self._asked: Counter[str] = Counter()

    def read(self, lines: Iterable[JournalLine]) -> Symptoms:
        for line in lines:
            if line.at_s < self._last_s:  # the hub was started again: its clock begins anew
                self._first_s = None
            self._first_s = line.at_s if self._first_s is None else self._first_s
            self._last_s = line.at_s
            match line:
                case EventLine(event=event):
                    self._event(event)
                case ActionsLine(actions=actions):
                    for action in actions:
                        self._action(action)
                case SettingsLine():
                    pass
        return Symptoms(
            spanned_s=self._last_s - (self._first_s or 0.0),
            loading_s=self._loading_s,
            slowest_load=self._slowest,
            evictions=dict(self._evictions),
            out_of_memory=dict(self._out_of_memory),
            crashes=dict(self._crashes),
            spills=dict(self._spills),
            keep_alives={client: (count, self._asked[client]) for client, count in self._set.items()},
        )

    def _event(self, event: Event) -> None:
        match event:
            case RequestArrived(demand=demand):
                self._asked[demand.client] += 1
                if demand.keep_alive_s is not None and not demand.load_only:
                    self._set[demand.client] += 1
            case EngineReady(engine=engine, load_s=load_s):
                self._loading_s += load_s
                if self._slowest is None or load_s > self._slowest[1]:
                    self._slowest = (self._model(engine), load_s)
            case EngineFailed(engine=engine, out_of_memory=out_of_memory):
                (self._out_of_memory if out_of_memory else self._crashes)[self._model(engine)] += 1
            case EngineGone(engine=engine, crashed=True):
                self._crashes[self._model(engine)] += 1
            case _:
                pass

    def _action(self, action: Action) -> None:
        match action:
            case StartEngine(engine=engine, model=model, placement=placement):
                self._models[engine] = model
                if placement.settings.gpu_layers >= 0 and placement.speed < 1.0:
                    self._spills[model] += 1
            case StopEngine(engine=engine, reason=reason) if reason.startswith("room for"):
                self._evictions[self._model(engine)] += 1
            case _:
                pass

    def _model(self, engine: str) -> str:
        return self._models.get(engine, engine.rpartition("#")[0] or engine)
