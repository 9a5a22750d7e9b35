"""Dates in running text: numeric, with month names in seven languages, and glued to a time as recognisers do it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from partage.documents.fields.found import Found, Sheet, from_row

_MONTHS: tuple[tuple[str, ...], ...] = (
    # English, German, French, Spanish, Italian, Dutch, Malay; abbreviations are prefixes of at least three letters.
    ("january", "januar", "jänner", "janvier", "enero", "gennaio", "januari"),
    ("february", "februar", "février", "febrero", "febbraio", "februari"),
    ("march", "märz", "maerz", "mars", "marzo", "maart", "mac"),
    ("april", "avril", "abril", "aprile"),
    ("may", "mai", "mayo", "maggio", "mei"),
    ("june", "juni", "juin", "junio", "giugno", "jun"),
    ("july", "juli", "juillet", "julio", "luglio", "julai"),
    ("august", "août", "aout", "agosto", "augustus", "ogos"),
    ("september", "septembre", "septiembre", "settembre"),
    ("october", "oktober", "octobre", "octubre", "ottobre"),
    ("november", "novembre", "noviembre"),
    ("december", "dezember", "décembre", "diciembre", "dicembre", "disember"),
)
_MONTH_OF = {name: number for number, names in enumerate(_MONTHS, start=1) for name in names}

_TIME = r"(?=\D|$|\d{1,2}[:.]\d{2})"
_YEAR = r"(?P<year>(?:19|20)\d{2}|'?\d{2})"
_PATTERNS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?<!\d)(?P<year>(?:19|20)\d{2})\s?(?P<sep>[-/.])\s?(?P<month>\d{1,2})\s?(?P=sep)\s?(?P<day>\d{1,2})(?!\d)",
        rf"(?<![\d.,])(?P<a>\d{{1,2}})\s?(?P<sep>[-/.])\s?(?P<b>\d{{1,2}})\s?(?P=sep)\s?{_YEAR}{_TIME}",
        rf"(?<!\d)(?P<day>\d{{1,2}})(?:st|nd|rd|th)?[-/.,\s]{{0,2}}(?P<name>[a-zäéû]{{3,10}})[-/.,\s']{{0,2}}{_YEAR}{_TIME}",
        rf"(?<![a-z])(?P<name>[a-zäéû]{{3,10}})[-/.,\s]{{0,2}}(?P<day>\d{{1,2}})(?:st|nd|rd|th)?[-/.,\s]{{1,2}}{_YEAR}{_TIME}",
        r"(?<!\d)(?P<year>20\d{2})(?P<month>0[1-9]|1[0-2])(?P<day>0[1-9]|[12]\d|3[01])(?!\d)",
    )
)
_NOT_ISSUE = re.compile(
    r"due|expir|valid|until|before|exchange|warrant|since|best by|next|fällig|gültig|zahlbar|\bbis\b", re.IGNORECASE
)
_LABEL = re.compile(r"\bdate\b|\bdated\b|datum|tarikh|fecha", re.IGNORECASE)
_CLOCK = re.compile(r"\d{1,2}:\d{2}|\b\d{1,2}\s?[ap]\.?m\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class DateSpan:
    value: date
    start: int
    end: int


def dates_in(text: str, *, month_first: bool = False) -> Iterator[DateSpan]:
    taken: list[tuple[int, int]] = []
    for pattern in _PATTERNS:
        for match in pattern.finditer(text):
            if any(match.start() < end and start < match.end() for start, end in taken):
                continue
            value = _value(match, month_first=month_first)
            if value is not None:
                taken.append(match.span())
                yield DateSpan(value, *match.span())


def is_month_first(text: str) -> bool:
    """Whether some date in the text can only be month/day, and none can only be day/month."""
    pairs = [(int(match["a"]), int(match["b"])) for match in _PATTERNS[1].finditer(text)]
    return any(a <= 12 < b for a, b in pairs) and not any(b <= 12 < a for a, b in pairs)


def issue_date(sheet: Sheet) -> Found | None:
    """The date of the document. In order: 1. labelled "date"; 2. beside a time; 3. the first one."""
    month_first = is_month_first(sheet.text)
    best: tuple[float, Found] | None = None
    for row in sheet.rows:
        for span in dates_in(row.text, month_first=month_first):
            before = row.text[: span.start]
            score = 0.6
            if _LABEL.search(before):
                score = 0.95
            elif _CLOCK.search(row.text[span.end :]):
                score = 0.8
            if _NOT_ISSUE.search(before):
                score = 0.3
            found = from_row(row, span.start, span.end, span.value.isoformat(), score)
            if found is not None and (best is None or score > best[0]):
                best = score, found
    return None if best is None else best[1]


def _value(match: re.Match[str], *, month_first: bool) -> date | None:
    parts = match.groupdict()
    year = int(parts["year"].lstrip("'"))
    if year < 100:
        year += 2000 if year < 70 else 1900
    if parts.get("a") is not None:
        day, month = int(parts["a"]), int(parts["b"])
        if (month_first and day <= 12) or (month > 12 >= day):
            day, month = month, day
    else:
        day = int(parts["day"])
        month = int(parts["month"]) if parts.get("month") else _month(parts["name"])
    try:
        return date(year, month, day) if 1950 <= year <= 2100 else None
    except ValueError:
        return None


def _month(name: str) -> int:
    name = name.lower()
    if name in _MONTH_OF:
        return _MONTH_OF[name]
    return next((number for word, number in _MONTH_OF.items() if len(name) >= 3 and word.startswith(name)), 0)
