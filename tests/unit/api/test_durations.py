from __future__ import annotations

import contextlib
import math
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partage.api.durations import keep_alive_s, parse_duration_s, rfc3339, rfc3339_in
from partage.errors import InvalidRequest


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10m", 600),
        ("1h30m", 5400),
        ("300ms", 0.3),
        ("1.5h", 5400),
        (".5s", 0.5),
        ("5m0s", 300),
        ("-1s", -1),
        ("+2s", 2),
        ("0", 0),
        ("3µs", 3e-6),
        ("24h", 86400),
    ],
)
def test_durations_mean_what_they_mean_in_go(text: str, seconds: float):
    assert math.isclose(parse_duration_s(text), seconds)


@pytest.mark.parametrize("text", ["", "5", "m", "5x", "5 m", "1h-2m", "--1s", "1..5s", "\u0661m", "5m ", "inf"])
def test_what_go_refuses_is_refused(text: str):
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        parse_duration_s(text)


@given(st.text(max_size=20))
def test_no_text_makes_the_parser_fail_otherwise(text: str):
    with contextlib.suppress(ValueError):
        assert math.isfinite(parse_duration_s(text))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, None), (0, 0), (300, 300), (2.5, 2.5), (-1, -1), (-7.5, -1), ("5m", 300), ("-1m", -1), ("0", 0), ("0s", 0),
     ("-1", -1), ("90", 90)],
)  # fmt: skip
def test_keep_alive_in_all_its_forms(value: float | str | None, seconds: float | None):
    assert keep_alive_s(value) == seconds


def test_a_keep_alive_that_is_none_is_named():
    with pytest.raises(InvalidRequest, match='keep_alive: "soon" is no duration') as raised:
        keep_alive_s("soon")
    assert raised.value.field == "keep_alive"


def test_moments_are_written_as_utc():
    assert rfc3339(datetime(2026, 11, 23, 10, 0, 0, 5, tzinfo=UTC)) == "2026-11-23T10:00:00.000005Z"


@pytest.mark.parametrize("seconds", [None, 1e18])
def test_never_and_nearly_never_are_the_last_moment_there_is(seconds: float | None):
    assert rfc3339_in(seconds) == "9999-12-31T23:59:59Z"
