"""The answer's shape on the wire: pages with how they were read, and every field with its evidence or why it is missing."""

from __future__ import annotations

from dataclasses import dataclass

from partage.documents.extract import Field
from partage.documents.page import Page
from partage.json_value import JsonObject, JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Processed:
    name: str
    schema: str | None
    pages: tuple[Page, ...]
    fields: tuple[Field, ...]
    seconds: float

    def to_json(self) -> JsonObject:
        by_number = {page.number: page for page in self.pages}
        fields: JsonObject = {field.name: _field(field, by_number) for field in self.fields}
        return {
            "name": self.name,
            "schema": self.schema,
            "seconds": round(self.seconds, 3),
            "pages": [_page(page) for page in self.pages],
            "fields": fields,
        }


def _page(page: Page) -> JsonObject:
    return {
        "number": page.number,
        "text": page.text,
        "method": page.read_by.value,
        "seconds": page.seconds,
        "width": round(page.width, 2),
        "height": round(page.height, 2),
        "unit": page.unit.value,
        "turned_degrees": page.turned_degrees,
        "note": page.note or None,
    }


def _field(field: Field, pages: dict[int, Page]) -> JsonValue:
    """`box` is in the page's unit from its upper left corner; `box_normalised` in shares of its width and height."""
    found = field.found
    if found is None:
        return {"value": None, "reason": field.missing, "page": None, "box": None, "confidence": 0.0, "raw": None}
    page, box = pages[found.page], found.box
    return {
        "value": found.value,
        "raw": found.raw,
        "page": found.page,
        "box": {side: round(getattr(box, side), 2) for side in ("left", "top", "right", "bottom")},
        "unit": page.unit.value,
        "box_normalised": {
            "left": round(box.left / page.width, 4),
            "top": round(box.top / page.height, 4),
            "right": round(box.right / page.width, 4),
            "bottom": round(box.bottom / page.height, 4),
        },
        "confidence": found.confidence,
    }
