"""What the buyer has to pay: labelled candidates, weighed by their words, and confirmed by the page's own arithmetic."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from partage.documents.fields.amounts import AmountSpan, amounts_in
from partage.documents.fields.found import Found, Sheet, from_row
from partage.documents.layout import Row

# The first pattern that matches a row's words decides; OCR reads "tota1", "t0tal", "totai", "anount".
_T = r"t[o0]t[a4][l1ij|]"
_AM = r"am(?:oun)?t|anount|betrag"
_NOT_TOTAL = re.compile(
    rf"sub\W?{_T}|{_T}\W*(?:qty|quant|item|pcs|sav|disc|tender|point|number|no\b|paid)|zwischensumme|netto(?:betrag|summe)|summe netto|"
    rf"(?:gst|vat|tax|mwst|ust)\W*{_T}|{_T}\W*(?:gst|vat|tax|mwst|ust)\b(?!\W*incl)|{_T}.{{0,20}}(?:excl|before|without|w/o)|"
    r"excl\w*\W*(?:gst|vat|tax|of)|steuerbetrag|saving|discount|rabatt|average|(?:un)?loyalty|points?\b",
    re.IGNORECASE,
)
_WEIGHTS: tuple[tuple[float, re.Pattern[str]], ...] = tuple(
    (weight, re.compile(pattern, re.IGNORECASE))
    for weight, pattern in (
        (
            1.0,
            rf"(?:grand|nett?|final|rounded|bill|invoice|order)\W*{_T}|{_T}\W*(?:rounded|after (?:rounding|adj))|{_T}.{{0,12}}(?:payable|due)|"
            rf"(?:{_AM}|balance)\W*(?:due|payable|to pay)|zu zahlen|zahlbetrag|endbetrag|gesamtbetrag|gesamtsumme|rechnungsbetrag|total\s?ttc",
        ),
        (0.9, rf"(?:{_T}|{_AM}).{{0,25}}(?:incl|inc\b|with)|incl\w*.{{0,10}}{_T}|brutto(?:betrag|summe)|gesamt\b"),
        (0.85, rf"\b{_T}|^summe|\bsumme\b"),
        (0.5, rf"nett?\W*(?:{_AM})|(?:{_AM})"),
    )
)
_PAID = re.compile(
    r"\bcash\b|\bpaid\b|tender|\bvisa\b|master\s?card|debit|credit card|\bbar\b|gegeben|tunai", re.IGNORECASE
)
_CHANGE = re.compile(r"\bchange\b|rückgeld|wechselgeld|\bbaki\b", re.IGNORECASE)
_ROUNDING = re.compile(r"round|rundung", re.IGNORECASE)
_TAX_TABLE = re.compile(
    r"(?:gst|tax|vat|mwst|steuer)\W{0,3}(?:summary|analysis|code|table|übersicht)|summary", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class _Candidate:
    row: Row
    span: AmountSpan
    weight: float


def total(sheet: Sheet) -> Found | None:
    """The amount whose label, place and arithmetic speak for it; without any label, what cash minus change leaves."""
    candidates: list[_Candidate] = []
    paid: list[Decimal] = []
    change: list[Decimal] = []
    rounding: list[Decimal] = []
    table = False
    for row, below in zip(sheet.rows, (*sheet.rows[1:], None), strict=True):
        table = table or (_TAX_TABLE.search(row.text) is not None)
        weight = _weight(row.text)
        owner, amounts = row, _money(row)
        if not amounts and weight and below is not None and not re.search(r"[A-Za-z]{4}", below.text):
            owner, amounts = below, _money(below)
        if not amounts:
            continue
        last = amounts[-1]
        if _CHANGE.search(row.text):
            change.append(abs(last.value))
        elif re.search(_T, row.text, re.IGNORECASE) is None:
            if _PAID.search(row.text):
                paid.append(last.value)
            elif _ROUNDING.search(row.text):
                rounding.append(last.value)
        if weight:
            candidates.append(_Candidate(owner, last, weight * (0.6 if table else 1.0)))
    return _choose(candidates, paid, change, rounding)


def _choose(
    candidates: list[_Candidate], paid: list[Decimal], change: list[Decimal], rounding: list[Decimal]
) -> Found | None:
    best: tuple[float, _Candidate] | None = None
    values = [candidate.span.value for candidate in candidates]
    for candidate in candidates:
        value = candidate.span.value
        score = candidate.weight
        if value <= 0:
            score -= 0.6
        if any(given - back == value for given in paid for back in change):
            score += 0.35
        elif value in paid:
            score += 0.2
        if any(amount and value - amount in values for amount in rounding):
            score += 0.2
        score += 0.05 * min(3, values.count(value) - 1)
        if best is None or score >= best[0] - 1e-9:
            best = score, candidate
    if best is None:
        return None
    score, chosen = best
    return from_row(
        chosen.row, chosen.span.start, chosen.span.end, float(chosen.span.value), min(0.98, 0.55 + 0.35 * score)
    )


def _weight(text: str) -> float:
    if _NOT_TOTAL.search(text) or _CHANGE.search(text):
        return 0.0
    return next((weight for weight, pattern in _WEIGHTS if pattern.search(text)), 0.0)


def _money(row: Row) -> list[AmountSpan]:
    return [span for span in amounts_in(row.text) if span.exact] or list(_faded_point(row.text))


def _faded_point(text: str) -> Iterator[AmountSpan]:
    """An amount at the end of a row whose decimal point was too faint: "10 00"."""
    match = re.search(r"(?<![\d.,])(\d{1,4}) (\d{2})$", text.rstrip())
    if match is not None:
        yield AmountSpan(Decimal(f"{match[1]}.{match[2]}"), None, exact=True, start=match.start(), end=match.end())


def tax(sheet: Sheet) -> Found | None:
    """What the tax lines say, or nothing: it is never computed."""
    for row in sheet.rows:
        if _TAX_LINE.search(row.text) and not _INCLUDED.search(row.text) and (amounts := _money(row)):
            return from_row(row, amounts[-1].start, amounts[-1].end, float(amounts[-1].value), 0.7)
    return None


_TAX_LINE = re.compile(r"\b(?:gst|vat|sst|tax|mwst|ust|umsatzsteuer|mehrwertsteuer|tva|iva)\b", re.IGNORECASE)
_INCLUDED = re.compile(rf"incl|excl|zzgl|before|{_T}\s*\(|summary", re.IGNORECASE)
