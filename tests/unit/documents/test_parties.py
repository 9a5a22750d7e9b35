from __future__ import annotations

import pytest

from partage.documents.fields.parties import address, company

from .conftest import sheet


def name(text: str) -> str | None:
    found = company(sheet(text))
    return None if found is None else str(found.value)


def place(text: str) -> str | None:
    found = address(sheet(text))
    return None if found is None else str(found.value)


RECEIPT = """
31801017
NORTHWIND SUPPLIES SDN BHD (81109-A)
NO 290, JALAN AIR PANAS,
SETAPAK,
53200, KUALA LUMPUR.
TEL: 03-40210276
GST ID: 000750673920
TAX INVOICE
Item  Qty  Amount
HAMMER  1  5.30
Total  5.30
"""


def test_a_legal_form_marks_the_name_and_its_registration_is_left_out():
    assert name(RECEIPT) == "NORTHWIND SUPPLIES SDN BHD"


def test_the_address_runs_from_the_name_to_the_telephone():
    assert place(RECEIPT) == "NO 290, JALAN AIR PANAS, SETAPAK, 53200, KUALA LUMPUR."


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Buchhandlung Sommer GmbH\nHafenweg 9\n48155 Münster\nRechnung", "Buchhandlung Sommer GmbH"),
        ("Acme Tools Ltd.\n14 Chandos Row\nBristol BS6 5QD\nInvoice", "Acme Tools Ltd."),
        (
            "scribbled by hand\nGOLDEN LANTERN TRADING\n(001904043-H)\n22, Jalan Hijau 5,\nReceipt",
            "GOLDEN LANTERN TRADING",
        ),
        ("BLUE DOOR BAKERIES\nSDN BHD\nNO 3 JALAN SATU", "BLUE DOOR BAKERIES SDN BHD"),
        ("THE CORNER SDN DHD\nNO 3 JALAN SATU", "THE CORNER SDN BHD"),
        ("Thank you for shopping\nA-01\n12.00", None),
    ],
)
def test_the_issuer_is_named_in_the_letterhead(text: str, wanted: str | None):
    assert name(text) == wanted


def test_the_buyers_address_is_not_the_issuers():
    text = "ACME LTD\nLOT 3, JALAN PELABUR 23/1,\n40300 SHAH ALAM\nTEL 03-123456\nTAX INVOICE\nBUYER SDN BHD\nNO 4 & 6, JALAN SS 15,\n47500 SUBANG"
    assert place(text) == "LOT 3, JALAN PELABUR 23/1, 40300 SHAH ALAM"


def test_a_german_address_is_read():
    assert (
        place("Sommer GmbH\nSchloßstraße 48\n70174 Stuttgart\nTelefon 0711 555 0133")
        == "Schloßstraße 48 70174 Stuttgart"
    )


def test_a_letterhead_without_an_address_has_none():
    assert place("ACME LTD\nTEL 03-123456\nTotal 5.00") is None


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "ACME LTD\nNo.3, Jalan 21/39, 47400 Petaling Jaya\nSelangor\nGST ID No : 000504664064",
            "No.3, Jalan 21/39, 47400 Petaling Jaya Selangor",
        ),
        ("ACME LTD\nJALAN PERMAS 10,\nMASAI,\n81750\nTel. 07-388", "JALAN PERMAS 10, MASAI, 81750"),
        (
            "ACME LTD\nNO.5: 55 & 59, JALAN SAGU 18,\n81100 JOHOR.\nDocument No : TD01",
            "NO.5: 55 & 59, JALAN SAGU 18, 81100 JOHOR.",
        ),
        ("ACME LTD\nNO 12 JALAN SEMUT 3\n52200 KUALA LUMPUR\nTABLE 4", "NO 12 JALAN SEMUT 3 52200 KUALA LUMPUR"),
    ],
)
def test_an_address_ends_where_it_ends(text: str, wanted: str):
    assert place(text) == wanted
