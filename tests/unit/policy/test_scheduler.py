from __future__ import annotations

from partage.domain import Device, Footprint, LaunchSettings, Placement
from partage.policy.actions import Refuse, Serve, StartEngine, StopEngine, WakeAt
from partage.policy.events import (
    Demand,
    DeviceSeen,
    EngineGone,
    EngineReady,
    Event,
    ModelLearned,
    ModelProfile,
    RequestArrived,
    RequestFinished,
)
from partage.policy.scheduler import Scheduler
from partage.policy.settings import PolicySettings


def profile(name: str, size: int, *, slots: int = 1) -> ModelProfile:
    settings = LaunchSettings(context_tokens=4096, slots=slots, threads=1)
    shares = (("gpu", Footprint(weights_bytes=size)),)
    return ModelProfile(model=name, placements=(Placement(settings=settings, shares=shares),), load_s=1.0)


def learned(*profiles: ModelProfile, budget: int = 10) -> Scheduler:
    scheduler = Scheduler(PolicySettings())
    events: list[Event] = [DeviceSeen(Device(id="gpu", kind="cuda", name="gpu", total_bytes=budget))]
    for event in (*events, *(ModelLearned(one) for one in profiles)):
        scheduler.decide(event, 0.0)
    return scheduler


def arrives(request: str, model: str) -> RequestArrived:
    return RequestArrived(Demand(id=request, model=model, client="me"))


def test_alternating_models_each_get_their_turn() -> None:
    scheduler = learned(profile("a", 8), profile("b", 8))
    assert any(isinstance(one, StartEngine) for one in scheduler.decide(arrives("1", "a"), 1.0))
    assert Serve(request="1", engine="a#1") in scheduler.decide(EngineReady(engine="a#1", load_s=1.0), 2.0)
    assert all(isinstance(one, WakeAt) for one in scheduler.decide(arrives("2", "b"), 3.0))
    actions = scheduler.decide(RequestFinished(request="1"), 4.0)
    assert [one.engine for one in actions if isinstance(one, StopEngine)] == ["a#1"]
    actions = scheduler.decide(EngineGone(engine="a#1"), 5.0)
    assert [one.engine for one in actions if isinstance(one, StartEngine)] == ["b#2"]


def test_what_can_never_fit_is_refused_with_the_arithmetic() -> None:
    scheduler = learned(profile("a", 11))
    (refusal,) = scheduler.decide(arrives("1", "a"), 1.0)
    assert isinstance(refusal, Refuse)
    assert (refusal.kind, refusal.needs_bytes, refusal.capacity_bytes) == ("cannot_fit", 11, 10)
