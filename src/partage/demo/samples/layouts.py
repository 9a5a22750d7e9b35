"""The papers a return comes with: letter, dealer sheet, e-mail print, packing slip, fax, screen, counter slip."""

from __future__ import annotations

from collections.abc import Callable

from partage.demo.samples.forms import LEFT, MAKER, RIGHT, claim, footer, form, letterhead
from partage.demo.samples.returns import Layout, Return
from partage.demo.samples.sheet import BLUE, GREY, PALE, WHITE, Sheet


def letter(return_: Return) -> bytes:
    sheet = Sheet(family="serif", title="Letter")
    other = return_.other
    y = 70.0
    for line in (return_.shown("customer_name"), other["street"], other["city"], other["phone"]):
        sheet.text(LEFT, y, line, size=11)
        y += 15
    sheet.text(LEFT, y, return_.shown("customer_email"), size=11)
    y += 44
    for line in (MAKER, "Returns", "Hafenweg 9", "48155 Münster"):
        sheet.text(LEFT, y, line, size=11)
        y += 15
    sheet.text(RIGHT, y + 8, other.get("written") or return_.shown("return_date"), size=11, align="right")
    y += 44
    paragraphs = return_.paragraphs()
    sheet.text(LEFT, y, paragraphs[0], size=12, bold=True)
    y += 30
    for paragraph in paragraphs[1:]:
        y = sheet.wrapped(LEFT, y, paragraph, RIGHT - LEFT, size=11.5) + 10
    sheet.scrawl(LEFT + 10, y + 26)
    sheet.text(LEFT, y + 52, return_.shown("customer_name"), size=11.5)
    return sheet.finish()


def table(return_: Return) -> bytes:
    """A label and its value side by side in ruled rows, then the articles."""
    sheet = Sheet(title=return_.other["title"])
    letterhead(sheet, return_.other["title"])
    sheet.text(RIGHT, 94, return_.other["sheet"], size=9, ink=GREY, align="right")
    y = 118.0
    for field in ("rma_number", "order_number", "customer_name", "customer_email", "purchase_date", "return_date"):
        sheet.box(LEFT, y, 150, 24, fill=PALE)
        sheet.line(LEFT, y + 24, RIGHT, y + 24, ink=GREY)
        sheet.text(LEFT + 8, y + 16, return_.label(field), size=10)
        sheet.text(LEFT + 160, y + 16, return_.shown(field), size=10.5)
        y += 24
    y += 34
    total = return_.shown("amount")
    unit = return_.other["unit"]
    heads = (
        ("Pos.", LEFT + 8),
        (return_.label("product"), LEFT + 50),
        ("Qty", 330),
        ("Unit price", 390),
        ("Amount", 470),
    )
    sheet.box(LEFT, y, RIGHT - LEFT, 22, fill=PALE)
    for head, x in heads:
        sheet.text(x, y + 15, head, size=9.5, bold=True)
    cells = ("1", return_.shown("product"), return_.shown("quantity"), unit, total.split()[0])
    for (_, x), value in zip(heads, cells, strict=True):
        sheet.text(x, y + 39, value, size=10.5)
    sheet.line(LEFT, y + 50, RIGHT, y + 50)
    sheet.text(390, y + 70, return_.label("amount"), size=10, bold=True, align="right")
    sheet.text(470, y + 70, total, size=10.5, bold=True)
    y += 110
    sheet.text(LEFT, y, f"{return_.label('reason')}:", size=10, bold=True)
    sheet.text(LEFT + 160, y, return_.shown("reason"), size=10.5)
    sheet.text(LEFT, y + 26, "Parcel weight:", size=10, bold=True)
    sheet.text(LEFT + 160, y + 26, return_.other["weight"], size=10.5)
    sheet.wrapped(
        LEFT,
        y + 64,
        "The credit is entered to the dealer account within ten working days after inspection.",
        480,
        size=9,
    )
    if stamp := return_.other.get("stamp"):
        sheet.stamp(380, y + 130, stamp, degrees=9)
    footer(sheet)
    return sheet.finish()


def email(return_: Return) -> bytes:
    """An e-mail as a mail program prints it."""
    sheet = Sheet(title=return_.other["subject"])
    sheet.text(LEFT, 60, return_.other["subject"], size=15, bold=True)
    sheet.line(LEFT, 70, RIGHT, 70)
    heads = (
        ("From:", f"{return_.shown('customer_name')} <{return_.shown('customer_email')}>"),
        ("To:", "Torrevia Returns <returns@torrevia.example.com>"),
        ("Sent:", return_.other["sent"]),
        ("Subject:", return_.other["subject"]),
    )
    y = 90.0
    for head, value in heads:
        sheet.text(LEFT, y, head, size=10, bold=True)
        sheet.text(LEFT + 60, y, value, size=10)
        y += 15
    y += 18
    for paragraph in return_.paragraphs():
        y = sheet.wrapped(LEFT, y, paragraph, RIGHT - LEFT, size=10.5, lead=1.4) + 12
    sheet.text(RIGHT, 803, "1 / 1", size=8, ink=GREY, align="right")
    return sheet.finish()


def slip(return_: Return) -> bytes:
    """Three columns of small print on top, articles, and the return note below."""
    sheet = Sheet(title=return_.other["title"])
    letterhead(sheet, return_.other["title"])
    other = return_.other
    columns = (
        ("Ship to", (return_.shown("customer_name"), other["street"], other["city"])),
        ("Sent by", ("Torrevia Logistics", "Hafenweg 9", "48155 Münster")),
        ("Shipment", (other["carrier"], "1 box", "0.9 kg")),
    )
    for x, (head, lines) in zip((LEFT, 220, 380), columns, strict=True):
        sheet.text(x, 128, head, size=9, bold=True, ink=GREY)
        for row, line in enumerate(lines):
            sheet.text(x, 144 + 13 * row, line, size=10)
    y = 206.0
    for field in ("order_number", "purchase_date"):
        end = sheet.text(LEFT, y, f"{return_.label(field)}: ", size=10)
        sheet.text(end, y, return_.shown(field), size=10, bold=True)
        y += 16
    y += 10
    heads = ((return_.label("product"), LEFT), (return_.label("quantity"), 300), ("Price each", 370), ("Amount", 460))
    for (head, x), value in zip(
        heads,
        (return_.shown("product"), return_.shown("quantity"), other["unit"], return_.shown("amount")),
        strict=True,
    ):
        sheet.text(x, y, head, size=9, bold=True)
        sheet.text(x, y + 20, value, size=10.5)
    sheet.line(LEFT, y + 5, RIGHT, y + 5)
    y += 70
    sheet.line(LEFT, y, RIGHT, y, ink=GREY)
    sheet.text(LEFT, y + 24, "Return note", size=13, bold=True)
    y += 48
    for field in ("rma_number", "return_date", "reason", "amount"):
        sheet.text(LEFT, y, f"{return_.label(field)}:", size=10)
        sheet.text(LEFT + 150, y, return_.shown(field), size=10.5)
        y += 19
    sheet.barcode(LEFT, y + 16, return_.shown("rma_number"))
    footer(sheet)
    return sheet.finish()


def plain(return_: Return) -> bytes:
    """Typewriter lines, as they go through a fax machine."""
    sheet = Sheet(family="mono", title=return_.other["title"])
    sheet.text(LEFT, 28, return_.other["fax"], size=9, bold=True)
    sheet.text(LEFT, 90, return_.other["title"], size=17, bold=True)
    sheet.text(LEFT, 116, f"To: {MAKER}, Returns", size=12)
    y = 170.0
    labelled = ("rma_number", "order_number", "customer_name", "product", "serial_number", "quantity")
    for field in (*labelled, "purchase_date", "return_date", "reason", "amount"):
        sheet.text(LEFT, y, f"{return_.label(field)}:", size=12)
        sheet.text(LEFT + 185, y, return_.shown(field), size=12)
        y += 24
    sheet.wrapped(LEFT, y + 24, "Please confirm by fax and tell us when the parcel will be collected.", 470, size=12)
    sheet.scrawl(LEFT + 10, y + 90)
    return sheet.finish()


def portal(return_: Return) -> bytes:
    """The confirmation page of a web shop."""
    sheet = Sheet(width=560, height=700, title=return_.other["title"])
    sheet.box(0, 0, 560, 46, fill=BLUE)
    sheet.text(24, 29, "Torrevia", size=16, bold=True, ink=WHITE)
    sheet.text(536, 29, return_.other["tabs"], size=10, ink=WHITE, align="right")
    sheet.text(24, 86, return_.other["title"], size=19, bold=True)
    sheet.text(24, 108, return_.other["deadline"], size=11, ink=GREY)
    sheet.box(24, 128, 512, 404, fill=PALE)
    y = 158.0
    fields = ("rma_number", "order_number", "customer_name", "customer_email", "product", "serial_number", "quantity")
    for field in (*fields, "purchase_date", "return_date", "reason", "amount"):
        sheet.text(44, y, return_.label(field), size=11, ink=GREY)
        sheet.text(216, y, return_.shown(field), size=12)
        sheet.line(44, y + 12, 516, y + 12, ink=WHITE)
        y += 35
    sheet.box(24, 560, 150, 36, fill=BLUE)
    sheet.text(99, 583, "Print label", size=12, bold=True, ink=WHITE, align="centre")
    sheet.text(24, 670, "© Torrevia · Terms · Privacy · help@torrevia.example.com", size=9, ink=GREY)
    return sheet.finish()


def counter(return_: Return) -> bytes:
    """The narrow slip that a till prints."""
    sheet = Sheet(width=250, height=430, family="mono", title=return_.other["title"])
    middle, left, right = 125, 16, 234
    sheet.text(middle, 34, return_.other["title"], size=15, bold=True, align="centre")
    sheet.text(middle, 50, return_.other["street"], size=10, align="centre")
    sheet.text(middle, 64, return_.other["cashier"], size=10, align="centre")
    sheet.text(middle, 90, "RETURN RECEIPT", size=13, bold=True, align="centre")
    y = 116.0
    for field in ("rma_number", "order_number", "customer_name", "product", "quantity", "purchase_date", "return_date"):
        y = counter_line(sheet, return_, field, y)
    sheet.text(left, y, f"{return_.label('reason')}:", size=10.5)
    sheet.text(left, y + 15, return_.shown("reason"), size=10.5)
    sheet.line(left, y + 26, right, y + 26)
    y = counter_line(sheet, return_, "amount", y + 46, size=13)
    sheet.text(left, y + 4, return_.other["paid"], size=10.5)
    sheet.barcode(left + 20, y + 24, return_.shown("rma_number"), height=30)
    sheet.text(middle, y + 78, "Thank you", size=10.5, align="centre")
    return sheet.finish()


def counter_line(sheet: Sheet, return_: Return, field: str, y: float, *, size: float = 10.5) -> float:
    label = return_.label(field)
    sheet.text(16, y, "RMA" if field == "rma_number" else label, size=size, bold=size > 11)
    sheet.text(234, y, return_.shown(field), size=size, bold=size > 11, align="right")
    return y + 20


LAYOUTS: dict[Layout, Callable[[Return], bytes]] = {
    "form": form,
    "letter": letter,
    "table": table,
    "email": email,
    "slip": slip,
    "claim": claim,
    "plain": plain,
    "portal": portal,
    "counter": counter,
}


def draw(return_: Return) -> bytes:
    """The paper as a PDF with a text layer, whatever it is turned into later."""
    return LAYOUTS[return_.layout](return_)
