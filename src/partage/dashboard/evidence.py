"""What the document service found, as it is drawn: every page with the boxes of its fields, and the fields beside it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from partage.client.services import Box, Found, Processed
from partage.dashboard.numbers import count, seconds
from partage.json_value import JsonObject

READ_BY = {"text_layer": "text layer", "ocr": "OCR", "vision_model": "vision model"}
LONGEST_TEXT = 20_000


def evidence(processed: Processed, images: Sequence[str]) -> JsonObject:
    """`images`: of the first pages, as far as they could be drawn."""
    found = sum(field.value is not None for field in processed.fields.values())
    told = f"{count(len(processed.pages), 'page')} read in {seconds(processed.seconds)}"
    if processed.fields:
        told += f", {found} of {count(len(processed.fields), 'field')} found"
    return {
        "name": processed.name,
        "told": told,
        "pages": [
            {
                "number": page.number,
                "image": images[index] if index < len(images) else "",
                "ratio": round(page.width / page.height, 4) if page.height else 1.0,
                "read_by": READ_BY.get(page.method, page.method),
                "note": page.note or "",
                "text": page.text[:LONGEST_TEXT],
                "boxes": [
                    {"name": name, "label": _label(name, field), **_sides(field.box_normalised)}
                    for name, field in processed.fields.items()
                    if field.page == page.number and field.box_normalised is not None
                ],
            }
            for index, page in enumerate(processed.pages)
        ],
        "fields": [_field(name, field) for name, field in processed.fields.items()],
    }


def _field(name: str, field: Found) -> JsonObject:
    return {
        "name": name,
        "label": name.replace("_", " "),
        "value": _value(field),
        "found": field.value is not None,
        "why": field.reason or "",
        "page": field.page,
        "confidence": f"{100 * field.confidence:.0f} %",
    }


def _label(name: str, field: Found) -> str:
    return f"{name.replace('_', ' ')}: {_value(field)}"


def _value(field: Found) -> str:
    match field.value:
        case None:
            return ""
        case str(text):
            return text
        case bool(yes):
            return "yes" if yes else "no"
        case other:
            return msgspec.json.encode(other).decode()


def _sides(box: Box) -> JsonObject:
    """In percent of the page, a hair larger than the words."""
    left, top = max(0.0, 100 * box.left - 0.4), max(0.0, 100 * box.top - 0.25)
    return {
        "left": round(left, 2),
        "top": round(top, 2),
        "width": round(100 * box.right + 0.4 - left, 2),
        "height": round(100 * box.bottom + 0.25 - top, 2),
    }
