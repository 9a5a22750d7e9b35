"""Fair shares: who had how much more than others lately."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partage.policy.accounts import Accounts

CHARGES = st.lists(st.tuples(st.floats(0, 20), st.sampled_from("xyz"), st.floats(-2, 30)), min_size=1, max_size=40)
"""Seconds since the one before, the client, and what it received."""


def entitlements(charges: list[tuple[float, str, float]], *, start_s: float = 0.0) -> dict[str, float]:
    accounts, now_s = Accounts(), start_s
    for passed_s, name, gpu_s in charges:
        now_s += passed_s
        accounts.charge(accounts.of(name), gpu_s, now_s)
    return {name: accounts.entitlement(accounts.of(name)) for name in "xyz"}


@given(charges=CHARGES)
def test_entitlement_is_what_clients_usually_had_in_the_last_minutes_by_what_this_one_had(
    charges: list[tuple[float, str, float]],
):
    recent_s, everybody_s, now_s = dict[str, float](), 0.0, 0.0
    for passed_s, name, gpu_s in charges[:14]:  # within one window, in which all are remembered
        now_s += passed_s
        fades = math.exp(-passed_s / 300)
        recent_s = {one: had_s * fades for one, had_s in recent_s.items()}
        recent_s[name] = max(0.0, recent_s.get(name, 0.0) + gpu_s)
        everybody_s = max(0.0, everybody_s * fades + gpu_s)
    usual_s = 1.5 * everybody_s / len(recent_s)
    expected = {name: min(1.0, usual_s / had_s) if (had_s := recent_s.get(name, 0.0)) else 1.0 for name in "xyz"}
    assert entitlements(charges[:14]) == pytest.approx(expected)


@given(charges=CHARGES, hours=st.sampled_from([0, 7, 9, 5000]))
def test_entitlement_is_the_same_whenever_it_happens_and_however_long_nobody_asks(
    charges: list[tuple[float, str, float]], hours: int
):
    first, *later = charges
    since_s = 3600.0 * hours
    # counted from the first charge: a window of clients begins by the clock
    moved = [(first[0] + 400.0, *first[1:]), *later]
    assert entitlements(moved, start_s=since_s) == pytest.approx(entitlements(moved))


def test_what_was_received_half_a_day_ago_is_forgotten():
    accounts = Accounts()
    had, has = accounts.of("had"), accounts.of("has")
    accounts.charge(had, 1000.0, 0.0)
    accounts.charge(has, 1.0, 1.0)
    assert accounts.entitlement(had) < accounts.entitlement(has) == 1.0
    accounts.charge(has, 1.0, 12 * 3600.0)
    assert accounts.entitlement(had) == 1.0
