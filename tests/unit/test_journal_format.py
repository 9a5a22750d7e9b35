from __future__ import annotations

import pytest

from partage.domain import Class, Device, Footprint, LaunchSettings, Placement
from partage.journal_format import (
    ActionsLine,
    EventLine,
    JournalUnreadable,
    SettingsLine,
    actions_line,
    event_line,
    parse_line,
    parse_lines,
    settings_line,
)
from partage.policy.actions import (
    Action,
    GrantLease,
    PauseEngine,
    Refuse,
    ResumeEngine,
    Serve,
    StartEngine,
    StopEngine,
    WakeAt,
)
from partage.policy.events import (
    Demand,
    DeviceSeen,
    EngineFailed,
    EngineGone,
    EngineReady,
    Event,
    LeaseAsked,
    LeaseDemand,
    LeaseEnded,
    ModelForgotten,
    ModelLearned,
    ModelProfile,
    PauseAsked,
    PinChanged,
    RequestArrived,
    RequestFinished,
    RequestProgressed,
    RequestRequeued,
    StrangersSeen,
    TimePassed,
    UnloadAsked,
)
from partage.policy.settings import PolicySettings

PLACEMENT = Placement(
    settings=LaunchSettings(context_tokens=4096, slots=2, threads=2, split=(0.5, 0.5)),
    shares=(("gpu-0", Footprint(weights_bytes=7, kv_bytes=1)), ("gpu-1", Footprint(weights_bytes=6))),
)
EVENTS: tuple[Event, ...] = (
    DeviceSeen(Device(id="host", kind="host", name="CPU", total_bytes=5, cores=2, contended=True)),
    StrangersSeen("host", 3),
    ModelLearned(ModelProfile(model="a", placements=(PLACEMENT,), load_s=1.5, pinned=True)),
    ModelForgotten("a"),
    RequestArrived(Demand(id="1", model="a", client="c", class_=Class.BATCH, deadline_at_s=9.0, keep_alive_s=-1.0)),
    RequestProgressed(request="1", output_tokens=4),
    RequestFinished(request="1", outcome="cancelled", prompt_tokens=3, served_s=0.5),
    RequestRequeued(request="1"),
    EngineReady(engine="a#1", load_s=0.25, measured_bytes=(("host", 12),)),
    EngineFailed(engine="a#1", reason="no", out_of_memory=True),
    EngineGone(engine="a#1", crashed=True),
    LeaseAsked(LeaseDemand(id="train-1", client="c", class_=Class.BATCH, bytes_=6, exclusive=True)),
    LeaseEnded(lease="train-1"),
    UnloadAsked(model="a"),
    PinChanged(model="a", pinned=False),
    PauseAsked(model="a", paused=True),
    TimePassed(),
)
ACTIONS: tuple[Action, ...] = (
    Serve(request="1", engine="a#1"),
    StartEngine(engine="a#1", model="a", placement=PLACEMENT, reason="because"),
    StopEngine(engine="a#1", reason="because"),
    GrantLease(lease="train-1", engine="lease:train-1#2", device="host", bytes_=6),
    PauseEngine(engine="a#1", reason="urgent"),
    ResumeEngine(engine="a#1"),
    Refuse(request="1", kind="cannot_fit", message="no", needs_bytes=9, capacity_bytes=3),
    WakeAt(3.25),
)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_every_event_comes_back_as_it_went(event: Event) -> None:
    assert parse_line(event_line(event, 1.5)) == EventLine(1.5, event)


def test_every_action_comes_back_as_it_went() -> None:
    assert parse_line(actions_line(ACTIONS, 2.5)) == ActionsLine(2.5, ACTIONS)


def test_empty_lines_are_passed_over() -> None:
    lines = [event_line(TimePassed(), 1.0), b"\n", actions_line((), 1.0)]
    assert list(parse_lines(lines)) == [EventLine(1.0, TimePassed()), ActionsLine(1.0, ())]


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b"3",
        b"{}",
        b'{"at_s": 1}',
        b'{"at_s": 1, "event": {"type": "Nothing"}}',
        b'{"at_s": 1, "event": {"type": "WakeAt"}}',
        b'{"at_s": 1, "event": {"type": "StrangersSeen"}}',
    ],
)
def test_what_is_no_journal_line_is_named_so(line: bytes) -> None:
    with pytest.raises(JournalUnreadable, match="not a line of a journal"):
        parse_line(line)


def test_settings_come_back_as_they_went():
    settings = PolicySettings(queue_limit=7, keep_alive_s=-1.0)
    assert parse_line(settings_line(settings, 2.5)) == SettingsLine(2.5, settings)


def test_a_last_line_that_is_cut_short_is_passed_over_and_any_other_is_not():
    whole = settings_line(PolicySettings(), 1.0)
    assert len(list(parse_lines([whole, whole[:20]]))) == 1
    with pytest.raises(JournalUnreadable, match="not a line of a journal"):
        list(parse_lines([b"nonsense\n", whole]))
