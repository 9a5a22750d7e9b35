"""Amounts of money in running text: 1,234.56 and 1.234,56, signs and currencies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

_SYMBOLS = {
    "€": "EUR",
    "£": "GBP",
    "$": "USD",
    "¥": "JPY",
    "₹": "INR",
    "RM": "MYR",
    "R$": "BRL",
    "S$": "SGD",
    "FR.": "CHF",
}
_CODES = [
    "EUR",
    "USD",
    "GBP",
    "CHF",
    "MYR",
    "SGD",
    "JPY",
    "CNY",
    "INR",
    "AUD",
    "NZD",
    "CAD",
    "HKD",
    "THB",
    "IDR",
    "PHP",
    "VND",
    "KRW",
    "TWD",
    "SEK",
    "NOK",
    "DKK",
    "PLN",
    "CZK",
    "HUF",
    "BRL",
    "MXN",
    "ZAR",
    "TRY",
    "AED",
]
_CURRENCY = rf"(?:{'|'.join(_CODES)}|R\$|S\$|US\$|RM|[€£$¥₹])"
_AMOUNT = re.compile(
    rf"(?P<before>{_CURRENCY})?\s?(?P<minus>[-\u2212(])?\s?(?P<before2>{_CURRENCY})?\s?"
    r"(?P<number>\d{1,3}(?:[.,'\u2019 ]\d{3})+(?:[.,]\s?\d{2})?(?!\d)|\d+[.,]\s?\d{2}(?!\d)|\d+(?:[.,]\d+)?|[.,]\d{2}(?!\d))"
    rf"(?P<dash>[,.][-\u2013\u2014]{{1,2}})?(?P<paren>\))?\s?(?P<after>{_CURRENCY}(?![A-Za-z]))?(?P<percent>\s?%)?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class AmountSpan:
    value: Decimal
    currency: str | None
    exact: bool
    """Written with two decimals, or with its currency: surely money, not a count."""
    start: int
    end: int


def amounts_in(text: str) -> Iterator[AmountSpan]:
    for match in _AMOUNT.finditer(text):
        start, end = match.start("number"), match.end("number")
        # Digits that touch letters, slashes or colons belong to codes, dates and times.
        if match["percent"] or (start and re.match(r"[\w/:#@.\-]", text[start - 1]) and not _introduced(match, start)):
            continue
        if end < len(text) and re.match(r"[/:\d]|[A-Za-z]{3}|-\d", text[end:]) and not match["after"]:
            continue
        value = number(match["number"])
        if value is None:
            continue
        sign = match["before"] or match["before2"] or match["after"]
        currency = None if sign is None else currency_code(sign)
        decimals = re.search(r"[.,]\s?\d{2}$", match["number"]) is not None
        exact = decimals or currency is not None or match["dash"] is not None
        outer = min(match.start(group) for group in ("before", "before2", "number") if match[group])
        yield AmountSpan(
            -value if match["minus"] else value, currency, exact, outer, match.end("after") if match["after"] else end
        )


def number(text: str) -> Decimal | None:
    """The last separator is the decimal one, unless three digits follow it: "1.234" is a thousand and more."""
    digits = re.sub(r"[\s'\u2019]", "", text)
    last = max(digits.rfind("."), digits.rfind(","))
    if last >= 0:
        whole, fraction = re.sub(r"[.,]", "", digits[:last]), digits[last + 1 :]
        grouped = len(fraction) == 3 and len(whole) >= 1 and whole.lstrip("0") != ""
        digits = whole + fraction if grouped else f"{whole or '0'}.{fraction}"
    return Decimal(digits) if re.fullmatch(r"\d+(\.\d+)?", digits) and len(digits) < 16 else None


def currency_code(sign: str) -> str | None:
    sign = sign.upper().replace("US$", "$")
    return sign if sign in _CODES else _SYMBOLS.get(sign)


def currencies_in(text: str) -> Iterator[tuple[str, int, int]]:
    for match in re.finditer(rf"(?<![A-Za-z]){_CURRENCY}(?![A-Za-z])", text):
        code = currency_code(match[0])
        if code is not None:
            yield code, *match.span()


def _introduced(match: re.Match[str], start: int) -> bool:
    """A currency or a minus sign stands right before the digits."""
    return any(match[group] and match.end(group) == start for group in ("before", "before2", "minus"))
