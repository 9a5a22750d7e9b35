from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partage.documents.fields.amounts import amounts_in, currencies_in, number


@pytest.mark.parametrize(
    ("text", "value", "currency"),
    [
        ("RM 3.90", "3.90", "MYR"),
        ("$8.20", "8.20", "USD"),
        ("1,234.56", "1234.56", None),
        ("1.234,56 €", "1234.56", "EUR"),
        ("1 234,56 EUR", "1234.56", "EUR"),
        ("£899.00", "899.00", "GBP"),
        ("-647.30", "-647.30", None),
        (".90", "0.90", None),
        ("CHF 1'200.00", "1200.00", "CHF"),
        ("1,049.00 EUR", "1049.00", "EUR"),
    ],
)
def test_an_amount_is_read_in_every_common_form(text: str, value: str, currency: str | None):
    [span] = amounts_in(text)
    assert (span.value, span.currency, span.exact) == (Decimal(value), currency, True)


@pytest.mark.parametrize("text", ["6%", "12/03/2018", "A-2025-88120", "9:34", "SO-481207"])
def test_percentages_dates_times_and_codes_are_no_exact_amounts(text: str):
    assert [span for span in amounts_in(text) if span.exact] == []


def test_three_digits_behind_one_separator_are_thousands():
    assert number("1.234") == 1234
    assert number("1,234,567") == 1234567
    assert number("0.125") == Decimal("0.125")


@given(st.decimals(min_value="0.01", max_value="9999999", places=2))
def test_both_ways_of_writing_mean_the_same(value: Decimal):
    english = f"{value:,.2f}"
    german = english.translate(str.maketrans(",.", ".,"))
    assert number(english) == number(german) == value


def test_currencies_are_told_from_words():
    assert [code for code, *_ in currencies_in("FARM RM 5, EUROPE 3 EUR")] == ["MYR", "EUR"]
