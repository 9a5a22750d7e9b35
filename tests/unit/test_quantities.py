from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partage.errors import InvalidRequest
from partage.quantities import format_bytes, parse_bytes, parse_duration_s, parse_share


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("6GiB", 6 << 30),
        ("6GB", 6_000_000_000),
        ("6G", 6 << 30),
        ("512 MiB", 512 << 20),
        ("1.5k", 1536),
        ("77", 77),
        (77, 77),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str | int, count: int):
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "GiB", "-1GiB", "6 gigs", "1e3"])
def test_what_is_no_size_is_refused(text: str):
    with pytest.raises(InvalidRequest):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10m", 600), ("1h30m", 5400), ("300ms", 0.3), ("-1m", -60), ("0", 0), ("1.5h", 5400), (30, 30)],
)
def test_durations_are_read_as_go_writes_them(text: str | int, seconds: float):
    assert parse_duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "-1", "5", "10 minutes", "m", "1h 30m"])
def test_what_is_no_duration_is_refused(text: str):
    with pytest.raises(InvalidRequest):
        parse_duration_s(text)


@given(st.integers(min_value=0, max_value=2**45))
def test_a_formatted_size_reads_back_within_half_a_percent(count: int):
    assert parse_bytes(format_bytes(count)) == pytest.approx(count, abs=0.0051 * count + 1)  # and the byte cut off


@pytest.mark.parametrize(("text", "share"), [("90%", 0.9), ("0.5", 0.5), (0.25, 0.25), (" 1 % ", 0.01)])
def test_a_share_is_read_with_and_without_its_percent_sign(text: str | float, share: float):
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "%", "ninety%", "90%x"])
def test_what_is_no_share_is_refused_with_an_example(text: str):
    with pytest.raises(InvalidRequest, match="90%"):
        parse_share(text)
