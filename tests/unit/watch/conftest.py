"""A watch over nothing yet: observers, gauges and a clock that the tests turn."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from partage.clock import FakeClock
from partage.domain import Footprint, LaunchSettings, Placement
from partage.policy.actions import Action, Serve, StartEngine
from partage.policy.events import (
    Demand,
    EngineReady,
    Event,
    ModelLearned,
    ModelProfile,
    RequestArrived,
    RequestFinished,
)
from partage.policy.views import ClientView, DeviceView, LeaseView, ResidentView, TierView
from partage.watch.alerts import Alert
from partage.watch.gauges import Gauges
from partage.watch.metrics import Metrics
from partage.watch.readings import Reading
from partage.watch.timeline import Timeline

MIB = 1 << 20


@dataclass
class FakePolicy:
    """The views of a policy, as the test sets them."""

    ledger: tuple[DeviceView, ...] = ()
    residents: tuple[ResidentView, ...] = ()
    clients: tuple[ClientView, ...] = ()
    leases: tuple[LeaseView, ...] = ()

    def ledger_view(self) -> tuple[DeviceView, ...]:
        return self.ledger

    def residents_view(self) -> tuple[ResidentView, ...]:
        return self.residents

    def leases_view(self) -> tuple[LeaseView, ...]:
        return self.leases

    def tier_view(self) -> TierView:
        return TierView(budget_bytes=100, held_bytes=40)

    def clients_view(self) -> tuple[ClientView, ...]:
        return self.clients

    def pause_bound_s(self) -> float:
        return 4.0

    def aside_bound_s(self) -> float:
        return 60.0

    def wait_bound_s(self) -> tuple[float, float, float]:
        return (600.0, 1800.0, 7200.0)


@dataclass
class Observed:
    """What a hub would tell, told by hand."""

    clock: FakeClock = field(default_factory=FakeClock)
    metrics: Metrics = field(default_factory=lambda: Metrics(["chat", "documents"]))
    timeline: Timeline = field(default_factory=Timeline)
    policy: FakePolicy = field(default_factory=FakePolicy)
    reading: Reading = field(default_factory=Reading)
    alerts: list[Alert] = field(default_factory=list[Alert])

    def __post_init__(self) -> None:
        self.gauges = Gauges(
            policy=self.policy,
            metrics=self.metrics,
            timeline=self.timeline,
            latest=lambda: self.reading,
            alerts=lambda: self.alerts,
            clock=self.clock,
            version="1.2.3",
        )

    def tell(self, event: Event, *actions: Action) -> None:
        for observer in (self.metrics, self.timeline):
            observer.decided(self.clock.now_s(), event, actions)

    def learn(self, model: str) -> None:
        profile = ModelProfile(model=model, placements=(placement(),), load_s=1.0)
        self.tell(ModelLearned(profile))

    def load(self, model: str, engine: str, *, load_s: float = 2.0) -> None:
        self.tell(
            RequestArrived(Demand(id=f"load-{engine}", model=model, client="chat", load_only=True)),
            StartEngine(engine=engine, model=model, placement=placement(), reason="fits free memory"),
        )
        self.clock.advance(load_s)
        self.tell(EngineReady(engine=engine, load_s=load_s), Serve(request=f"load-{engine}", engine=engine))
        self.tell(RequestFinished(request=f"load-{engine}"))

    def serve(self, demand: Demand, *, wait_s: float = 0.5, output_tokens: int = 10, decode_s: float = 1.0) -> None:
        self.tell(RequestArrived(demand))
        self.clock.advance(wait_s)
        self.tell(
            RequestArrived(Demand(id="next", model=demand.model, client="chat")), Serve(request=demand.id, engine="e")
        )
        self.clock.advance(decode_s)
        self.tell(
            RequestFinished(
                request=demand.id,
                prompt_tokens=7,
                cached_tokens=3,
                output_tokens=output_tokens,
                served_s=decode_s,
                first_output_s=wait_s + 0.1,
                decode_s=decode_s,
            )
        )


def placement(*devices: str, size_bytes: int = 100 * MIB, gpu_layers: int = -1) -> Placement:
    return Placement(
        settings=LaunchSettings(context_tokens=4096, slots=2, threads=1, gpu_layers=gpu_layers),
        shares=tuple((device, Footprint(weights_bytes=size_bytes)) for device in devices or ("host",)),
    )


@pytest.fixture
def observed() -> Observed:
    return Observed()
