from __future__ import annotations

from dataclasses import replace

from partage.domain import Class
from partage.policy.actions import GrantLease, PauseEngine, Refuse, ResumeEngine
from partage.policy.events import LeaseAsked, LeaseDemand, LeaseEnded, TimePassed
from partage.policy.views import LeaseView

from .conftest import Observed
from .test_metrics import scraped


def asked(name: str) -> LeaseAsked:
    return LeaseAsked(LeaseDemand(id=name, client="night", class_=Class.BATCH, bytes_=6))


def grant(name: str) -> GrantLease:
    return GrantLease(lease=name, engine=f"lease:{name}#1", device="host", bytes_=6)


def test_leases_are_counted_with_their_waits_pauses_and_ends(observed: Observed):
    observed.tell(asked("a"))
    observed.clock.advance(5)
    observed.tell(TimePassed(), grant("a"), PauseEngine(engine="lease:a#1", reason="urgent"))
    observed.clock.advance(2)
    observed.tell(TimePassed(), ResumeEngine(engine="lease:a#1"))
    observed.tell(TimePassed(), PauseEngine(engine="lease:a#1", reason="turn"))
    observed.clock.advance(1)
    observed.tell(LeaseEnded(lease="a"))
    observed.tell(asked("b"), Refuse(request="b", kind="cannot_fit", message="no"))
    observed.tell(asked("c"))
    observed.tell(LeaseEnded(lease="c"))
    values = scraped(observed)
    assert values["partage_lease_wait_seconds_sum|batch"] == 5
    assert values["partage_lease_pauses_total|urgent"] == 1
    assert values["partage_lease_paused_seconds_total|urgent"] == 2
    assert values["partage_lease_paused_seconds_total|turn"] == 1
    assert [values[f"partage_leases_total|batch|{how}"] for how in ("ended", "left", "refused")] == [1, 1, 1]
    assert "partage_engine_pauses_total|other|urgent" not in values


def test_leases_are_shown_by_state(observed: Observed):
    held = LeaseView(
        lease="a", client="x", class_=Class.BATCH, exclusive=False, engine="e", device="host", bytes_=6, since_s=0.0,
        position=None, predicted_wait_s=None,
    )  # fmt: skip
    observed.policy.leases = (held,)
    assert scraped(observed)["partage_leases|batch|held"] == 1


def test_what_stands_still_now_is_told_by_why_and_only_turns_are_measured_against_the_bound(observed: Observed):
    observed.tell(asked("a"))
    observed.tell(asked("b"))
    observed.tell(TimePassed(), grant("a"), PauseEngine(engine="lease:a#1", reason="urgent"))
    observed.tell(TimePassed(), grant("b"), PauseEngine(engine="lease:b#1", reason="hand"))
    observed.clock.advance(3.0)
    assert observed.metrics.paused_s(observed.clock.now_s()) == {"lease:a#1": 3.0}
    one = LeaseView(
        lease="a", client="night", class_=Class.BATCH, exclusive=False, engine="lease:a#1", device="host", bytes_=6,
        since_s=0.0, position=None, predicted_wait_s=None, paused=True,
    )  # fmt: skip
    observed.policy.leases = (one, replace(one, lease="b", halted=True), replace(one, lease="c", paused=False))
    values = scraped(observed)
    assert (values["partage_paused|hand"], values["partage_paused|turn"]) == (1, 1)
    assert (values["partage_leases|batch|paused"], values["partage_leases|batch|held"]) == (2, 1)
