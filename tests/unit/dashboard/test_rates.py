from __future__ import annotations

import pytest

from partage.dashboard.rates import KEPT, Rates
from partage.dashboard.status import Client, Status


def at(now_s: float, **tokens: int) -> Status:
    return Status(now_s=now_s, clients=[Client(name=name, streamed_tokens=count) for name, count in tokens.items()])


def test_a_rate_is_over_the_last_ten_seconds():
    rates = Rates()
    for second in range(30):
        rates.see(at(second, chat=40 * min(second, 15)))
    line = rates.lines["chat"]
    assert line[5] == pytest.approx(40)
    assert line[15] == pytest.approx(40)
    assert line[20] == pytest.approx(20)
    assert line[-1] == 0


def test_steps_of_many_tokens_make_no_peak():
    rates = Rates()
    for second in range(40):
        rates.see(at(second, chat=32 * (second // 2)))
    assert max(list(rates.lines["chat"])[12:]) < 20


def test_a_hub_that_was_started_again_begins_a_new_line():
    rates = Rates()
    rates.see(at(100, chat=1000))
    rates.see(at(101, chat=1050))
    rates.see(at(1, chat=0))
    rates.see(at(2, chat=30))
    assert list(rates.lines["chat"]) == [0.0, 30.0]


def test_lines_are_bounded_and_a_client_that_is_forgotten_has_none():
    rates = Rates()
    for second in range(KEPT + 50):
        rates.see(at(second, chat=second, gone=5))
    assert len(rates.lines["chat"]) == KEPT
    rates.see(at(KEPT + 50, chat=KEPT + 50))
    assert set(rates.lines) == {"chat"}


def test_a_client_that_comes_later_counts_from_its_first_token():
    rates = Rates()
    rates.see(at(0, chat=5))
    rates.see(at(1, chat=5, rag=32))
    assert rates.lines["rag"][-1] == 32
