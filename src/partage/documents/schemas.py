"""Which fields are looked for: the built-in schemas, and what a JSON Schema that is sent along asks for."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
from jsonschema import Draft202012Validator, SchemaError

from partage.documents.fields import dates, parties, prose, totals
from partage.documents.fields.found import Found, Sheet
from partage.documents.fields.kinds import Kind
from partage.documents.fields.labels import plain
from partage.errors import InvalidRequest
from partage.json_value import JsonObject

LARGEST_SCHEMA_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldSpec:
    name: str
    kind: Kind
    labels: tuple[str, ...] = ()
    """Wordings, the surest first."""
    rule: Callable[[Sheet], Found | None] | None = None
    """Finds the value without a label, where no labelled one is there (or before, with `rule_first`)."""
    rule_first: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    name: str
    fields: tuple[FieldSpec, ...]
    json_schema: JsonObject = field(default_factory=dict[str, Any])
    """For a model that answers under constrained decoding."""


_RMA = (
    FieldSpec(
        name="rma_number",
        kind=Kind.IDENTIFIER,
        labels=("RMA number", "RMA no.", "RMA-Nummer", "RMA-Nr.", "RMA #", "RMA", "RMA ID", "Return authorisation number",
                "Return authorization number", "Return authorisation", "Return authorization", "Return number", "Return no.",
                "Rücksendenummer", "Retourennummer", "Retoure", "Return ID", "RA number", "Case number", "Return"),
        rule=prose.rma_number,
    ),
    FieldSpec(
        name="order_number",
        kind=Kind.IDENTIFIER,
        labels=("Order number", "Order no.", "Order ID", "Order #", "Bestellnummer", "Bestell-Nr.", "Auftragsnummer", "Auftrags-Nr.",
                "Purchase order", "PO number", "Purchase order number", "Sales order", "Order reference", "Order", "Bestellung", "Auftrag",
                "Ticket", "Receipt number", "Receipt no."),
    ),
    FieldSpec(
        name="customer_name",
        kind=Kind.NAME,
        labels=("Customer name", "Name des Kunden", "Kundenname", "Name of customer", "Full name", "Dealer", "Händler", "Customer", "Kunde",
                "Company", "Firma", "Name", "Ship to", "Bill to", "Sender", "Absender", "From", "Von", "Returned by", "Contact", "Client"),
        rule=prose.signer,
    ),
    FieldSpec(
        name="customer_email",
        kind=Kind.EMAIL,
        labels=("Customer e-mail", "E-mail", "Contact e-mail", "E-mail address", "E-Mail-Adresse", "Mail", "From", "Von", "Contact"),
        rule=prose.sender_email,
    ),
    FieldSpec(
        name="product",
        kind=Kind.TEXT,
        labels=("Product", "Produkt", "Product name", "Article", "Artikel", "Item", "Produktname", "Artikelbezeichnung", "Bezeichnung",
                "Model", "Modell", "Gerät", "Device", "Item description", "Description"),
    ),
    FieldSpec(
        name="serial_number",
        kind=Kind.IDENTIFIER,
        labels=("Serial number", "Serial no.", "Serial", "Seriennummer", "Serien-Nr.", "S/N", "SN", "Gerätenummer", "Device ID", "IMEI"),
    ),
    FieldSpec(
        name="quantity",
        kind=Kind.INTEGER,
        labels=("Quantity", "Qty", "Anzahl", "Menge", "Stückzahl", "Pieces", "Units", "Number of items", "Stück"),
    ),
    FieldSpec(
        name="purchase_date",
        kind=Kind.DATE,
        labels=("Purchase date", "Date of purchase", "Kaufdatum", "Purchased on", "Purchased", "Bought on", "Bought", "Ordered on",
                "Order date", "Bestelldatum", "Gekauft am", "Invoice date", "Rechnungsdatum"),
        rule=prose.purchase_date,
    ),
    FieldSpec(
        name="return_date",
        kind=Kind.DATE,
        labels=("Return date", "Date of return", "Rücksendedatum", "Returned on", "Returned", "Retourendatum", "Rückgabedatum",
                "Zurückgesandt am", "Rücksendung am", "Sent back on"),
        rule=prose.return_date,
    ),
    FieldSpec(
        name="reason",
        kind=Kind.LINES,
        labels=("Reason for return", "Grund der Rücksendung", "Return reason", "Rücksendegrund", "Reason", "Grund", "Fault description",
                "Fehlerbeschreibung", "Description of fault", "Problem description", "Problem", "Defect", "Fault", "Mangel", "Reklamationsgrund"),
    ),
    FieldSpec(
        name="amount",
        kind=Kind.MONEY,
        labels=("Refund amount", "Erstattungsbetrag", "Credit requested", "Refund requested", "Amount to refund", "Refund total", "Refund",
                "Erstattung", "Gutschrift", "Credit", "Amount paid", "Purchase price", "Kaufpreis", "Total amount", "Total", "Gesamtbetrag",
                "Betrag", "Value", "Warenwert", "Amount", "Price", "Preis"),
        rule=prose.refund,
    ),
    FieldSpec(name="currency", kind=Kind.TEXT, rule=prose.currency, rule_first=True),
)  # fmt: skip

_INVOICE = (
    FieldSpec(name="vendor", kind=Kind.NAME, labels=("Vendor", "Seller", "Supplier", "Verkäufer", "Lieferant"), rule=parties.company),
    FieldSpec(
        name="invoice_number",
        kind=Kind.IDENTIFIER,
        labels=("Invoice number", "Invoice no.", "Invoice #", "Rechnungsnummer", "Rechnungs-Nr.", "Rechnung Nr.", "Inv no.", "Tax invoice no.",
                "Invoice ID", "Document no.", "Doc no.", "Bill no.", "Receipt no.", "Receipt #", "Belegnummer", "Invoice", "Rechnung"),
    ),
    FieldSpec(
        name="date",
        kind=Kind.DATE,
        labels=("Invoice date", "Rechnungsdatum", "Date of issue", "Issue date", "Ausstellungsdatum", "Date", "Datum"),
        rule=dates.issue_date,
    ),
    FieldSpec(
        name="due_date",
        kind=Kind.DATE,
        labels=("Due date", "Payment due", "Fälligkeitsdatum", "Fällig am", "Zahlbar bis", "Due", "Pay by", "Due by", "Payable by"),
    ),
    FieldSpec(
        name="subtotal",
        kind=Kind.MONEY,
        labels=("Subtotal", "Sub total", "Zwischensumme", "Net amount", "Nettobetrag", "Summe netto", "Total excluding GST",
                "Total sales (excluding GST)", "Net total", "Netto", "Amount before tax"),
    ),
    FieldSpec(
        name="tax",
        kind=Kind.MONEY,
        labels=("VAT", "Tax", "Sales tax", "Total GST", "GST", "MwSt.", "USt.", "Umsatzsteuer", "Mehrwertsteuer", "VAT amount", "Tax amount",
                "GST payable", "Total tax", "Steuerbetrag"),
        rule=totals.tax,
    ),
    FieldSpec(name="total", kind=Kind.MONEY, rule=totals.total, rule_first=True, labels=("Total", "Gesamtbetrag", "Amount due")),
    FieldSpec(name="currency", kind=Kind.TEXT, rule=prose.currency, rule_first=True),
    FieldSpec(
        name="customer",
        kind=Kind.NAME,
        labels=("Bill to", "Invoice to", "Billed to", "Sold to", "Customer name", "Customer", "Rechnungsempfänger", "Rechnung an", "Kunde",
                "Client", "Ship to", "Attention", "Attn"),
    ),
)  # fmt: skip

_RECEIPT = (
    FieldSpec(name="company", kind=Kind.NAME, rule=parties.company, rule_first=True),
    FieldSpec(name="date", kind=Kind.DATE, rule=dates.issue_date, rule_first=True),
    FieldSpec(name="address", kind=Kind.LINES, rule=parties.address, rule_first=True),
    FieldSpec(name="total", kind=Kind.MONEY, rule=totals.total, rule_first=True),
)

_JSON_KINDS: dict[Kind, JsonObject] = {
    Kind.DATE: {"type": ["string", "null"], "format": "date"},
    Kind.MONEY: {"type": ["number", "null"]},
    Kind.NUMBER: {"type": ["number", "null"]},
    Kind.INTEGER: {"type": ["integer", "null"]},
    Kind.BOOLEAN: {"type": ["boolean", "null"]},
}


def _built_in(name: str, fields: tuple[FieldSpec, ...]) -> Schema:
    properties: JsonObject = {
        spec.name: dict(_JSON_KINDS.get(spec.kind, {"type": ["string", "null"]})) for spec in fields
    }
    return Schema(
        name=name,
        fields=fields,
        json_schema={
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        },
    )


BUILT_IN = {
    name: _built_in(name, fields) for name, fields in (("rma", _RMA), ("invoice", _INVOICE), ("receipt", _RECEIPT))
}


def schema_of(text: str) -> Schema:
    """A built-in name, or the text of a JSON Schema of an object. Raises InvalidRequest that says what is wrong."""
    text = text.strip()
    if text in BUILT_IN:
        return BUILT_IN[text]
    if not text.startswith("{"):
        raise InvalidRequest(f"there is no schema '{text[:60]}'; use {', '.join(BUILT_IN)} or send a JSON Schema")
    if len(text.encode()) > LARGEST_SCHEMA_BYTES:
        raise InvalidRequest(f"the schema is larger than {LARGEST_SCHEMA_BYTES // 1024} KiB")
    try:
        schema = msgspec.json.decode(text, type=dict[str, Any])
        Draft202012Validator.check_schema(schema)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequest(f"the schema is not JSON: {error}") from error
    except SchemaError as error:
        where = "/".join(str(part) for part in error.absolute_path) or "its top"
        raise InvalidRequest(f"the schema is not a JSON Schema: at {where}: {error.message}") from error
    properties = schema.get("properties")
    if schema.get("type", "object") != "object" or not isinstance(properties, dict) or not properties:
        raise InvalidRequest('the schema must be {"type": "object", "properties": {...}} with at least one property')
    fields = tuple(
        _spec(str(name), dict(detail) if isinstance(detail, dict) else {}) for name, detail in properties.items()
    )
    return Schema(name=str(schema.get("title", "custom")), fields=fields, json_schema=schema)


def _spec(name: str, detail: dict[str, Any]) -> FieldSpec:
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("_", " ").replace("-", " ").strip()
    title, description = str(detail.get("title", "")), str(detail.get("description", ""))
    own = [label for label in (title, words, *re.split(r"[;,(/]", description)) if 0 < len(label.split()) <= 5]
    known = _known(name, title)
    choices = tuple(str(choice) for choice in detail.get("enum", ()) if isinstance(choice, str))
    kind = _kind(detail, known)
    spec = replace(known, name=name, kind=kind) if known is not None else FieldSpec(name=name, kind=kind)
    if known is not None and kind is not known.kind:
        spec = replace(spec, rule=None, rule_first=False)
    return replace(spec, labels=tuple(dict.fromkeys((*own, *spec.labels))), choices=choices)


def _known(name: str, title: str) -> FieldSpec | None:
    """The built-in field that goes by this name or label: its wordings and rules come with it."""
    wanted = {plain(name), plain(title)} - {""}
    specs = [spec for schema in BUILT_IN.values() for spec in schema.fields]
    by_name = next((spec for spec in specs if plain(spec.name) in wanted), None)
    return by_name or next((spec for spec in specs if any(plain(label) in wanted for label in spec.labels)), None)


def _kind(detail: dict[str, Any], known: FieldSpec | None) -> Kind:
    types = detail.get("type", "string")
    types = {types} if isinstance(types, str) else set(types)
    if detail.get("format") in ("date", "date-time"):
        return Kind.DATE
    if detail.get("format") == "email":
        return Kind.EMAIL
    if "integer" in types:
        return Kind.INTEGER
    if "number" in types:
        return Kind.MONEY if known is not None and known.kind is Kind.MONEY else Kind.NUMBER
    if "boolean" in types:
        return Kind.BOOLEAN
    return known.kind if known is not None and known.kind not in (Kind.MONEY, Kind.INTEGER) else Kind.TEXT
