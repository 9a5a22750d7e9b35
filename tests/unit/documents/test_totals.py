from __future__ import annotations

from partage.documents.fields.totals import tax, total

from .conftest import sheet


def value(text: str) -> float | str | None:
    found = total(sheet(text))
    return None if found is None else found.value


def test_the_total_is_neither_subtotal_nor_tax_nor_change():
    assert value("Sub Total  40.00\nTotal GST  2.40\nTotal  42.40\nCash  50.00\nChange  7.60") == 42.40


def test_rounding_decides_between_two_totals():
    assert value("Total (Inclusive of GST): 65.72\nRounding Adj -0.02\nTOTAL : 65.70\nCASH : 65.70") == 65.70


def test_cash_minus_change_confirms_a_total():
    assert value("Total  12.00\nTotal Sales  15.90\nCASH  51.00\nCHANGE  35.10") == 15.90


def test_the_tax_table_below_has_totals_of_its_own():
    assert value("Total Sales (Inclusive of GST) : 5.30\nGST SUMMARY\nTotal :  5.00  0.30") == 5.30


def test_counts_and_savings_are_no_totals():
    assert value("Total Qty: 5  44.73\nTotal Saving  3.00\nGrand Total  41.20") == 41.20


def test_german_totals_are_read():
    assert value("Zwischensumme  100,00 €\nMwSt. 19 %  19,00 €\nGesamtbetrag  119,00 €") == 119.0


def test_a_total_whose_point_is_faint_is_read_with_its_words_as_evidence():
    found = total(sheet("SUB TOTAL  9.50\nGRAND TOTAL  10 00"))
    assert found is not None
    assert (found.value, found.raw) == (10.0, "10 00")


def test_a_page_without_a_total_has_none():
    assert value("Dear returns team,\nplease find the grinder enclosed") is None


def test_the_tax_is_read_and_never_computed():
    found = tax(sheet("Net 100.00\nVAT 19 %  19.00\nTotal  119.00"))
    assert found is not None
    assert found.value == 19.0
    assert tax(sheet("Net 100.00\nTotal  119.00")) is None
