"""The maker's own printed forms: the boxed return form, and the claim of form, invoice and service note."""

from __future__ import annotations

from partage.demo.samples.returns import Return
from partage.demo.samples.sheet import BLUE, GREY, PALE, WHITE, Sheet

MAKER = "Torrevia Espresso Machines"
FOOTER = "Torrevia Returns · Hafenweg 9 · 48155 Münster · returns@torrevia.example.com · +49 251 555 0100"
LEFT, RIGHT = 56, 539  # margins of an A4 page, in points


def form(return_: Return) -> bytes:
    """Boxes with a small label above each value."""
    sheet = Sheet(title=return_.other["title"])
    form_page(sheet, return_)
    return sheet.finish()


def form_page(sheet: Sheet, return_: Return, *, leave_out: tuple[str, ...] = ()) -> None:
    german = return_.language == "de"
    letterhead(sheet, return_.other["title"])
    sheet.barcode(LEFT, 104, return_.shown("rma_number"))
    rows = (
        ("rma_number", "order_number"),
        ("customer_name", "customer_email"),
        ("product", "serial_number", "quantity"),
        ("purchase_date", "return_date", "amount"),
    )
    y = 150.0
    for row in rows:
        fields = [field for field in row if field not in leave_out]
        width = (RIGHT - LEFT) / len(fields)
        for column, field in enumerate(fields):
            cell(sheet, return_, field, LEFT + column * width, y, width)
        y += 46
    address = f"{return_.other['street']}, {return_.other['city']}"
    sheet.box(LEFT, y, RIGHT - LEFT, 40)
    sheet.text(LEFT + 6, y + 12, "Anschrift / Telefon" if german else "Address / phone", size=8, ink=GREY)
    sheet.text(LEFT + 6, y + 30, f"{address}   {return_.other['phone']}", size=11)
    y += 46
    if "reason" not in leave_out:
        sheet.box(LEFT, y, RIGHT - LEFT, 74)
        sheet.text(LEFT + 6, y + 12, return_.label("reason"), size=8, ink=GREY)
        sheet.wrapped(LEFT + 6, y + 31, return_.shown("reason"), 330, size=11)
    y += 102
    choices = ("Reparatur", "Austausch", "Erstattung") if german else ("Repair", "Exchange", "Refund")
    x = sheet.text(LEFT, y, "Gewünscht:" if german else "I would like:", size=10) + 16
    for choice in choices:
        sheet.box(x, y - 9, 11, 11)
        if choice is choices[-1]:
            sheet.text(x + 2, y, "X", size=10, bold=True)
        x = sheet.text(x + 17, y, choice, size=10) + 24
    notice = (
        "Bitte legen Sie diesen Schein dem Paket bei. Rücksendungen ohne RMA-Nummer werden nicht angenommen. "
        "Wasser- und Bohnenbehälter vor dem Versand leeren."
        if german
        else "Please put this form into the parcel. Returns without a number are not accepted. Empty the water tank and "
        "the bean hopper before you send the machine."
    )
    sheet.wrapped(LEFT, y + 34, notice, RIGHT - LEFT, size=9)
    sheet.line(LEFT, y + 128, LEFT + 190, y + 128)
    sheet.scrawl(LEFT + 20, y + 120)
    sheet.text(LEFT, y + 141, "Unterschrift" if german else "Signature", size=8, ink=GREY)
    if stamp := return_.other.get("stamp"):
        sheet.stamp(390, y + 118, stamp)
    footer(sheet)


def cell(sheet: Sheet, return_: Return, field: str, x: float, y: float, width: float) -> None:
    sheet.box(x, y, width, 40)
    sheet.text(x + 6, y + 12, return_.label(field), size=8, ink=GREY)
    sheet.text(x + 6, y + 30, return_.shown(field), size=9.5 if len(return_.shown(field)) > 28 else 11)


def letterhead(sheet: Sheet, title: str) -> None:
    sheet.box(LEFT, 40, 22, 22, fill=BLUE)
    sheet.text(LEFT + 7, 56, "T", size=14, bold=True, ink=WHITE)
    sheet.text(LEFT + 32, 57, MAKER, size=14, bold=True, ink=BLUE)
    sheet.line(LEFT, 70, RIGHT, 70, ink=BLUE, width=1.4)
    sheet.text(LEFT, 94, title, size=17, bold=True)


def footer(sheet: Sheet) -> None:
    sheet.line(LEFT, 790, RIGHT, 790, ink=GREY)
    sheet.text((LEFT + RIGHT) / 2, 803, FOOTER, size=8, ink=GREY, align="centre")


def claim(return_: Return) -> bytes:
    """A form, the invoice with the serial number, and in text ones a service note with the reason: facts over pages."""
    sheet = Sheet(title=return_.other["title"])
    noted = bool(return_.body)
    form_page(sheet, return_, leave_out=("serial_number", "reason") if noted else ("serial_number", "amount"))
    sheet.end_page()
    invoice_page(sheet, return_)
    if noted:
        sheet.end_page()
        note_page(sheet, return_)
    return sheet.finish()


def invoice_page(sheet: Sheet, return_: Return) -> None:
    letterhead(sheet, "Invoice")
    other = return_.other
    for row, line in enumerate((return_.shown("customer_name"), other["street"], other["city"])):
        sheet.text(LEFT, 132 + 15 * row, line, size=11)
    heads = (("Invoice number", other["invoice"]), ("Order number", return_.shown("order_number")))
    for row, (head, value) in enumerate((*heads, ("Invoice date", return_.shown("purchase_date")))):
        sheet.text(350, 132 + 16 * row, head, size=10, ink=GREY)
        sheet.text(440, 132 + 16 * row, value, size=10.5)
    y = 220.0
    sheet.box(LEFT, y, RIGHT - LEFT, 22, fill=PALE)
    for head, x in (("Article", LEFT + 8), ("Qty", 330), ("Unit price", 380), ("Amount", 460)):
        sheet.text(x, y + 15, head, size=9.5, bold=True)
    price = return_.shown("amount")
    for value, x in (
        (return_.shown("product"), LEFT + 8),
        (return_.shown("quantity"), 330),
        (price, 380),
        (price, 460),
    ):
        sheet.text(x, y + 40, value, size=10.5)
    sheet.text(LEFT + 8, y + 56, f"Serial number: {return_.shown('serial_number')}", size=10)
    sheet.line(LEFT, y + 68, RIGHT, y + 68)
    currency = return_.truth.currency or ""
    for row, (head, value) in enumerate((("Shipping", f"{other['shipping']} {currency}"), ("Total", price))):
        sheet.text(380, y + 90 + 18 * row, head, size=10.5, bold=bool(row))
        sheet.text(460, y + 90 + 18 * row, value, size=10.5, bold=bool(row))
    sheet.wrapped(
        LEFT,
        y + 160,
        "Paid in advance. Prices include value added tax. Goods remain ours until they are paid.",
        480,
        size=9,
    )
    footer(sheet)


def note_page(sheet: Sheet, return_: Return) -> None:
    paragraphs = return_.paragraphs()
    letterhead(sheet, paragraphs[0])
    y = 140.0
    for paragraph in paragraphs[1:]:
        y = sheet.wrapped(LEFT, y, paragraph, 460, size=11.5) + 14
    sheet.text(LEFT, y + 20, "M. Falk, Service", size=11.5)
    footer(sheet)
