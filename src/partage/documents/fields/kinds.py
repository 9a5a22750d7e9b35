"""The kinds of value a field may have, and how the words at a spot are read as one. What does not fit is not a value."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum

from partage.documents.fields.amounts import amounts_in
from partage.documents.fields.dates import dates_in
from partage.documents.fields.found import Found, from_words
from partage.documents.fields.labels import is_identifier
from partage.documents.page import Word


class Kind(StrEnum):
    TEXT = "text"
    LINES = "lines"
    """Text that may go on over several lines."""
    NAME = "name"
    IDENTIFIER = "identifier"
    DATE = "date"
    MONEY = "money"
    INTEGER = "integer"
    NUMBER = "number"
    EMAIL = "email"
    PHONE = "phone"
    BOOLEAN = "boolean"


EMAIL = re.compile(r"[\w.+-]+\s?@\s?[\w-]+(?:\s?\.\s?[\w-]+)*\.\s?[a-z]{2,}", re.IGNORECASE)
_PHONE = re.compile(r"\+?\(?\d[\d\s()/.-]{5,}\d")
_YES = {"yes", "true", "ja", "x", "oui", "si"}
_NO = {"no", "false", "nein", "non"}


def read(kind: Kind, page: int, words: tuple[Word, ...], worth: float, *, month_first: bool = False) -> Found | None:
    """The value that the words hold, with only the words it came from as evidence; None where they hold none."""
    text = " ".join(word.text for word in words)
    found = _READERS[kind](text, month_first)
    if found is None:
        return None
    value, start, end = found
    return from_words(page, _between(words, start, end), text[start:end], value, worth)


_Span = tuple["str | float | bool", int, int]


def _text(text: str, _: bool) -> _Span | None:  # noqa: FBT001 - one signature for all readers
    value = text.strip(" :;|")
    return (value, 0, len(text)) if re.search(r"\w", value) else None


def _name(text: str, _: bool) -> _Span | None:  # noqa: FBT001
    # "Priya Raghunathan <priya@example.com>", "Jane Doe, 12 Hill Road"
    cut = re.search(r"\s*[<(\[]|\s*,?\s*\S+@", text)
    value = (text[: cut.start()] if cut else text).strip(" ,;:|.\"'") if text else ""
    good = re.search(r"[^\W\d_]{2}", value) and sum(c.isdigit() for c in value) <= 3 and len(value.split()) <= 8
    return (value, 0, cut.start() if cut else len(text)) if good else None


def _identifier(text: str, _: bool) -> _Span | None:  # noqa: FBT001
    # Recognisers part what a hyphen or slash joins: "RMA-2026- 004217".
    joined = re.match(r"[\W_]*((?:[\w.]+\s?[-/]\s?)*[\w.]+)", text)
    for match in (joined, re.search(r"\S+", text)):
        if match is None:
            continue
        raw = match[1] if match.re.groups else match[0]
        value = re.sub(r"\s", "", raw).strip(".,;:()#")
        if is_identifier(value) and not any(True for _ in dates_in(value)):
            start = match.start(1) if match.re.groups else match.start()
            return value, start, start + len(raw)
    return None


def _date(text: str, month_first: bool) -> _Span | None:  # noqa: FBT001
    span = min(dates_in(text, month_first=month_first), key=lambda span: span.start, default=None)
    return None if span is None or span.start > 20 else (span.value.isoformat(), span.start, span.end)


def _money(text: str, _: bool) -> _Span | None:  # noqa: FBT001
    spans = list(amounts_in(text))
    span = next((span for span in spans if span.exact), spans[0] if len(spans) == 1 and len(text) < 12 else None)
    return None if span is None else (float(span.value), span.start, span.end)


def _integer(text: str, _: bool) -> _Span | None:  # noqa: FBT001
    match = re.match(
        r"\W*(\d{1,6})(?:[.,]0+)?\s?(?:x|pcs?\.?|st(?:ü|u)ck|stk\.?|units?|ea|\u00d7)?\W*(?:\s|$)", text, re.IGNORECASE
    )
    return None if match is None else (int(match[1]), match.start(1), match.end(1))


def _number(text: str, _: bool) -> _Span | None:  # noqa: FBT001
    span = next(iter(amounts_in(text)), None)
    return None if span is None else (float(span.value), span.start, span.end)


def _email(text: str, _: bool) -> _Span | None:  # noqa: FBT001
    match = EMAIL.search(text)
    return None if match is None else (re.sub(r"\s", "", match[0]), *match.span())


def _phone(text: str, _: bool) -> _Span | None:  # noqa: FBT001
    match = _PHONE.search(text)
    return None if match is None else (match[0].strip(), *match.span())


def _boolean(text: str, _: bool) -> _Span | None:  # noqa: FBT001
    word = text.strip(" .:[]()").lower()
    return (word in _YES, 0, len(text)) if word in _YES | _NO else None


_READERS: dict[Kind, Callable[[str, bool], _Span | None]] = {
    Kind.TEXT: _text,
    Kind.LINES: _text,
    Kind.NAME: _name,
    Kind.IDENTIFIER: _identifier,
    Kind.DATE: _date,
    Kind.MONEY: _money,
    Kind.INTEGER: _integer,
    Kind.NUMBER: _number,
    Kind.EMAIL: _email,
    Kind.PHONE: _phone,
    Kind.BOOLEAN: _boolean,
}


def _between(words: tuple[Word, ...], start: int, end: int) -> tuple[Word, ...]:
    found: list[Word] = []
    at = 0
    for word in words:
        if at < end and at + len(word.text) > start:
            found.append(word)
        at += len(word.text) + 1
    return tuple(found)
