"""From pages and a schema to fields: labelled values first, then the rules that need no label; never a value without evidence."""

from __future__ import annotations

from dataclasses import dataclass

from partage.documents.fields.amounts import amounts_in
from partage.documents.fields.dates import is_month_first
from partage.documents.fields.found import Found, Sheet
from partage.documents.fields.kinds import Kind, read
from partage.documents.fields.labels import LabelIndex, Spot, plain
from partage.documents.page import Page
from partage.documents.schemas import FieldSpec, Schema


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of the answer: found with its evidence, or missing with the reason."""

    name: str
    found: Found | None = None
    missing: str = ""


def extract(pages: tuple[Page, ...], schema: Schema) -> tuple[Field, ...]:
    sheet = Sheet(pages)
    if not sheet.rows:
        return tuple(Field(name=spec.name, missing="no text was found in the document") for spec in schema.fields)
    index = LabelIndex(sheet, {spec.name: spec.labels for spec in schema.fields})
    month_first = is_month_first(sheet.text)
    fields = [_field(spec, sheet, index, month_first=month_first) for spec in schema.fields]
    return tuple(_with_amounts_currency(fields))


def _field(spec: FieldSpec, sheet: Sheet, index: LabelIndex, *, month_first: bool) -> Field:
    if spec.choices:
        found = _choice(spec, sheet)
        return Field(name=spec.name, found=found, missing="" if found else "none of the allowed values is on the page")
    found = spec.rule(sheet) if spec.rule is not None and spec.rule_first else None
    found = found or _labelled(spec, index, month_first=month_first)
    if found is None and spec.rule is not None and not spec.rule_first:
        found = spec.rule(sheet)
    if found is not None:
        return Field(name=spec.name, found=found)
    labelled = any(True for _ in index.spots(spec.name))
    why = f"its label is there, but no {spec.kind} beside or below it" if labelled else "not found on any page"
    return Field(name=spec.name, missing=why)


def _labelled(spec: FieldSpec, index: LabelIndex, *, month_first: bool) -> Found | None:
    """The best spot: the surest wording of the label first, then the shortest way to it, then the earliest."""
    best: tuple[tuple[int, float], Found] | None = None
    for spot in index.spots(spec.name):
        if _is_prose(spec, spot):
            continue
        words = index.continued(spot) if spec.kind is Kind.LINES else spot.words
        found = read(spec.kind, spot.page, words, spot.worth, month_first=month_first)
        if found is None:
            continue
        key = (-spot.label.rank, spot.worth)
        if best is None or key > best[0]:
            best = key, found
    return None if best is None else best[1]


def _is_prose(spec: FieldSpec, spot: Spot) -> bool:
    """Without a colon, words that go on behind a label are a sentence, unless a value of a strict kind comes at once."""
    behind = spot.row_at == spot.label.row_at and not spot.label.colon and spot.worth < 0.9
    if not behind:
        return False
    if spec.kind in (Kind.TEXT, Kind.LINES, Kind.NAME, Kind.BOOLEAN):
        return True
    return spec.kind is Kind.INTEGER and len(spot.words) > 2


def _choice(spec: FieldSpec, sheet: Sheet) -> Found | None:
    for row in sheet.rows:
        for choice in spec.choices:
            at = row.text.lower().find(choice.lower())
            if at >= 0 and plain(row.text[at : at + len(choice)]) == plain(choice):
                words = row.words_between(at, at + len(choice))
                return read(Kind.TEXT, row.page, words, 0.6)
    return None


def _with_amounts_currency(fields: list[Field]) -> list[Field]:
    """The currency printed with the amount itself outweighs the one most seen on the page."""
    amount = next((field.found for field in fields if field.name in ("amount", "total") and field.found), None)
    if amount is None:
        return fields
    codes = [span.currency for span in amounts_in(amount.raw) if span.currency]
    if not codes:
        return fields
    own = Found(value=codes[0], raw=amount.raw, page=amount.page, box=amount.box, confidence=amount.confidence)
    return [Field(name=field.name, found=own) if field.name == "currency" else field for field in fields]
