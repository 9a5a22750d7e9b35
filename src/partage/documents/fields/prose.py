"""Values that letters and e-mails tell in sentences or by their place: who writes, what was bought when, what to refund."""

from __future__ import annotations

import re
from collections import Counter

from partage.documents.fields.amounts import amounts_in, currencies_in
from partage.documents.fields.dates import dates_in, is_month_first
from partage.documents.fields.found import Found, Sheet, from_row, from_words
from partage.documents.fields.kinds import EMAIL
from partage.documents.layout import Row

_CLOSING = re.compile(
    r"^(?:sincerely|yours\b|(?:kind|best|warm)\s+regards|regards|best wishes|mit freundlichen gr|freundliche gr|viele gr|hochachtungsvoll|"
    r"cordially|cordialement|saludos|with kind)",
    re.IGNORECASE,
)
_ROLE = re.compile(
    r"^(?:info|help|support|sales|service|returns?|contact|kontakt|office|mail|no-?reply|retoure\w*|kundenservice)@",
    re.IGNORECASE,
)
_BOUGHT = re.compile(r"\b(?:bought|purchased?|ordered|gekauft|erworben|bestellt|kauf\w* (?:am|vom))\b", re.IGNORECASE)
_SENT_BACK = re.compile(
    r"\b(?:send\w* (?:\w+ ){0,3}back|return(?:ing|ed)?|sent back|zurück\w*|retourn\w+)\b", re.IGNORECASE
)
_REFUND = re.compile(r"\b(?:refund|reimburse|credit|erstatt\w+|gutschrift|rückzahlung)\b", re.IGNORECASE)
_RMA = re.compile(r"\bR\.?M\.?A\s?[-#:. ]\s?\d[\w-]{2,}(?:\s?-\s?\d+)*", re.IGNORECASE)


def rma_number(sheet: Sheet) -> Found | None:
    for row in sheet.rows:
        if match := _RMA.search(row.text):
            return from_row(row, *match.span(), re.sub(r"\s", "", match[0]), 0.85)
    return None


def signer(sheet: Sheet) -> Found | None:
    """The name under the closing formula; else the first line of a letter, where a person's address follows it."""
    rows = sheet.rows
    for at, row in enumerate(rows):
        if _CLOSING.search(row.text) and len(row.text) < 40:
            for below in rows[at + 1 : at + 4]:
                if found := _person(below, 0.85):
                    return found
    head = rows[:6]
    if head and any(EMAIL.search(row.text) for row in head):
        return _person(head[0], 0.7)
    return None


def sender_email(sheet: Sheet) -> Found | None:
    """An address in the writer's own block at the top, never that of a department."""
    for row in sheet.first_page[:8]:
        match = EMAIL.search(row.text)
        if match is not None and not _ROLE.match(match[0]):
            return from_row(row, *match.span(), re.sub(r"\s", "", match[0]), 0.85)
    return None


def purchase_date(sheet: Sheet) -> Found | None:
    return _date_after(sheet, _BOUGHT, not_after=_SENT_BACK)


def return_date(sheet: Sheet) -> Found | None:
    return _date_after(sheet, _SENT_BACK, not_after=_BOUGHT)


def refund(sheet: Sheet) -> Found | None:
    """An amount of money in a sentence that asks to refund it."""
    for row, before in _with_line_before(sheet):
        for span in amounts_in(row.text):
            if span.exact and _REFUND.search((before + " " + row.text[: span.start])[-90:]):
                return from_row(row, span.start, span.end, float(span.value), 0.75)
    return None


def currency(sheet: Sheet) -> Found | None:
    """The currency that most amounts on the page carry."""
    seen = [(code, row, start, end) for row in sheet.rows for code, start, end in currencies_in(row.text)]
    if not seen:
        return None
    most = Counter(code for code, *_ in seen).most_common(1)[0][0]
    _, row, start, end = next(hit for hit in seen if hit[0] == most)
    return from_row(row, start, end, most, 0.9)


def _date_after(sheet: Sheet, cue: re.Pattern[str], *, not_after: re.Pattern[str]) -> Found | None:
    """The first date in the same sentence behind the cue, with no other date and no other cue between them."""
    month_first = is_month_first(sheet.text)
    for row, before in _with_line_before(sheet):
        last = 0
        for span in sorted(dates_in(row.text, month_first=month_first), key=lambda span: span.start):
            lead = row.text[last : span.start] if last else before + " " + row.text[: span.start]
            last = span.end
            sentence = re.split(r"[.!?]\s", lead[-90:])[-1]
            if _last(cue, sentence) > _last(not_after, sentence):
                return from_row(row, span.start, span.end, span.value.isoformat(), 0.75)
    return None


def _last(cue: re.Pattern[str], text: str) -> int:
    return max((match.start() for match in cue.finditer(text)), default=-1)


def _with_line_before(sheet: Sheet) -> list[tuple[Row, str]]:
    """Each row with the tail of the line above it: sentences break anywhere."""
    pairs: list[tuple[Row, str]] = []
    tail = ""
    for row in sheet.rows:
        pairs.append((row, tail))
        dated = max((span.end for span in dates_in(row.text)), default=0)
        tail = row.text[dated:]
    return pairs


def _person(row: Row, rule: float) -> Found | None:
    text = row.segments[0].text.strip()
    words = text.split()
    good = 2 <= len(words) <= 5 and not re.search(r"[\d@:]", text) and sum(word[:1].isupper() for word in words) >= 2
    return from_words(row.page, row.segments[0].words, text, text, rule) if good else None
