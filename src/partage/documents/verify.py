"""Checks what a model says against the words that were seen on the page: a value that is not there was not read."""

from __future__ import annotations

from dataclasses import replace
from difflib import SequenceMatcher

from partage.documents.extract import Field
from partage.documents.fields.amounts import amounts_in
from partage.documents.fields.dates import dates_in
from partage.documents.fields.found import Found, Sheet, from_row, from_words
from partage.documents.fields.kinds import Kind
from partage.documents.fields.labels import plain
from partage.documents.page import Page
from partage.documents.schemas import Schema
from partage.json_value import JsonObject, JsonValue

SURE = 0.8
"""A rule's value this confident outweighs a model's."""
ALIKE = 0.85
"""Share of letters that must agree between a model's words and the page's; recognisers misread one or two."""
LEAST_SHARE = 0.4


def with_model(
    fields: tuple[Field, ...], said: JsonObject, pages: tuple[Page, ...], schema: Schema
) -> tuple[Field, ...]:
    """In order: 1. both agree: surer; 2. a sure rule stands; 3. the model's value, if the page shows it; 4. as the rules left it."""
    sheet = Sheet(pages)
    kinds = {spec.name: spec.kind for spec in schema.fields}
    return tuple(_merged(field, said.get(field.name), kinds[field.name], sheet) for field in fields)


def _merged(field: Field, value: JsonValue, kind: Kind, sheet: Sheet) -> Field:
    if value is None or value == "" or isinstance(value, list | dict):
        return field
    shown = locate(value, kind, sheet)
    if field.found is not None:
        if shown is not None and plain(str(shown.value)) == plain(str(field.found.value)):
            return replace(field, found=replace(field.found, confidence=min(0.99, field.found.confidence + 0.1)))
        if field.found.confidence >= SURE or shown is None:
            return field
    if shown is not None:
        return Field(name=field.name, found=shown)
    return Field(name=field.name, missing=f"the model answered {str(value)[:80]!r}, which is not on any page")


def locate(value: str | float | bool, kind: Kind, sheet: Sheet) -> Found | None:  # noqa: FBT001
    """Where the page shows the value; None where it does not."""
    for row in sheet.rows:
        if kind is Kind.DATE:
            for span in dates_in(row.text):
                if span.value.isoformat() == str(value)[:10]:
                    return from_row(row, span.start, span.end, span.value.isoformat(), 0.85)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            for span in amounts_in(row.text):
                if abs(float(span.value) - value) < 0.005:
                    return from_row(row, span.start, span.end, value, 0.75)
    if kind is Kind.DATE or not isinstance(value, str):
        return None
    return _text(value, sheet)


def _text(value: str, sheet: Sheet) -> Found | None:
    """The stretch of words, over up to six rows, that reads most like the value. The page's own words are returned."""
    wanted = plain(value)
    if len(wanted) < 2:
        return None
    best: tuple[float, Found | None] = (ALIKE if len(wanted) > 4 else 0.99, None)
    words = [(row, word) for row in sheet.rows for word in row.words]
    letters = [plain(word.text) for _, word in words]
    for first in range(len(words)):
        seen = ""
        for last in range(first, min(first + 60, len(words))):
            if words[last][0].page != words[first][0].page:
                break
            seen += letters[last]
            if len(seen) > 1.2 * len(wanted) + 1:
                break
            if len(seen) < 0.8 * len(wanted):
                continue
            alike = 1.0 if seen == wanted else SequenceMatcher(None, seen, wanted, autojunk=False).ratio()
            if alike > best[0] or (alike == 1.0 and best[1] is None):
                chosen = tuple(word for _, word in words[first : last + 1])
                raw = " ".join(word.text for word in chosen)
                best = alike, from_words(words[first][0].page, chosen, raw, raw.strip(" ,;:"), 0.85 * alike)
    return best[1]


def is_of_this_page(text: str, page: Page) -> bool:
    """Whether a model's transcript shares enough words with what OCR saw; a made-up page shares next to none."""
    seen = {plain(word.text) for segment in page.segments for word in segment.words if len(plain(word.text)) > 2}
    said = {plain(word) for word in text.split()}
    return not seen or len(seen & said) >= LEAST_SHARE * len(seen)
