"""Reads the returns that the samples are drawn from, and says how each value is written on paper."""

from __future__ import annotations

import datetime as dt
from importlib import resources
from io import StringIO
from typing import Literal, TypeAlias

import msgspec
from ruamel.yaml import YAML

Layout: TypeAlias = Literal["form", "letter", "table", "email", "slip", "claim", "plain", "portal", "counter"]
Medium: TypeAlias = Literal["text", "scan", "photo", "fax", "screen", "mixed"]
Money: TypeAlias = Literal["symbol", "code", "german", "code_german"]
Value: TypeAlias = "str | int | float | None"

SYMBOLS = {"EUR": "€", "GBP": "£", "USD": "$"}

LABELS: dict[str, dict[str, str]] = {
    "en": {
        "rma_number": "RMA number",
        "order_number": "Order number",
        "customer_name": "Customer name",
        "customer_email": "E-mail",
        "product": "Product",
        "serial_number": "Serial number",
        "quantity": "Quantity",
        "purchase_date": "Purchase date",
        "return_date": "Return date",
        "reason": "Reason for return",
        "amount": "Refund amount",
    },
    "de": {
        "rma_number": "RMA-Nummer",
        "order_number": "Bestellnummer",
        "customer_name": "Name des Kunden",
        "customer_email": "E-Mail",
        "product": "Artikel",
        "serial_number": "Seriennummer",
        "quantity": "Anzahl",
        "purchase_date": "Kaufdatum",
        "return_date": "Rücksendedatum",
        "reason": "Grund der Rücksendung",
        "amount": "Erstattungsbetrag",
    },
}


class Truth(msgspec.Struct, frozen=True, kw_only=True):
    """What a reader must find on the paper; None: it is not there."""

    rma_number: str | None = None
    order_number: str | None = None
    customer_name: str | None = None
    customer_email: str | None = None
    product: str | None = None
    serial_number: str | None = None
    quantity: int | None = None
    purchase_date: dt.date | None = None
    return_date: dt.date | None = None
    reason: str | None = None
    amount: float | None = None
    currency: str | None = None


FIELDS: tuple[str, ...] = Truth.__struct_fields__


class Return(msgspec.Struct, frozen=True, kw_only=True):
    """One returned product and the paper that came with it."""

    name: str
    layout: Layout
    medium: Medium
    truth: Truth
    language: Literal["en", "de"] = "en"
    dates: str
    money: Money
    labels: dict[str, str] = {}
    other: dict[str, str] = {}
    body: list[str] = []

    def label(self, field: str) -> str:
        return self.labels.get(field) or LABELS[self.language][field]

    def shown(self, field: str) -> str:
        """The value as it is printed; "" where the paper lacks it."""
        value = getattr(self.truth, field)
        match value:
            case None:
                return ""
            case dt.date():
                return value.strftime(self.dates)
            case float():
                return self.shown_money(value)
            case _:
                return str(value)

    def shown_money(self, amount: float) -> str:
        currency = self.truth.currency or ""
        german = f"{amount:,.2f}".translate(str.maketrans(",.", ".,"))
        match self.money:
            case "symbol":
                return f"{SYMBOLS[currency]}{amount:,.2f}"
            case "code":
                return f"{amount:.2f} {currency}"
            case "german":
                return f"{german} {SYMBOLS[currency]}"
            case "code_german":
                return f"{german} {currency}"

    def paragraphs(self) -> list[str]:
        shown = {field: self.shown(field) for field in FIELDS}
        return [paragraph.format_map(shown) for paragraph in self.body]

    def expected(self) -> dict[str, Value]:
        """The truth as the document service writes it: dates in ISO 8601, money as a number beside its currency."""
        values: dict[str, Value] = {}
        for field in FIELDS:
            value = getattr(self.truth, field)
            values[field] = value.isoformat() if isinstance(value, dt.date) else value
        return values


def read_returns() -> list[Return]:
    text = resources.files(__package__ or "").joinpath("returns.yaml").read_text(encoding="utf-8")
    return msgspec.convert(YAML(typ="safe", pure=True).load(StringIO(text)), list[Return])
