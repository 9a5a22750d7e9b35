from __future__ import annotations

from partage.documents.extract import Field, extract
from partage.documents.schemas import schema_of
from partage.documents.verify import is_of_this_page, with_model
from partage.json_value import JsonObject

from .conftest import page

SEEN = page("Widget Works\nArticle  Knock Box Oak\nDate 24 February 2026\nSum 69.80 EUR\nRef. W-1009348")
SCHEMA = schema_of("rma")


def merged(**said: str | float) -> dict[str, Field]:
    proposals: JsonObject = dict(said)
    return {field.name: field for field in with_model(extract((SEEN,), SCHEMA), proposals, (SEEN,), SCHEMA)}


def test_a_models_value_that_the_page_shows_comes_with_its_box():
    found = merged(order_number="W-1009348", amount=69.8, return_date="2026-02-24")
    order, amount, date = found["order_number"].found, found["amount"].found, found["return_date"].found
    assert order is not None
    assert order.value == "W-1009348"
    assert order.box.top == 120.0
    assert amount is not None
    assert amount.value == 69.8
    assert date is not None
    assert date.raw == "24 February 2026"


def test_a_models_value_that_is_not_on_the_page_is_not_read():
    field = merged(serial_number="SN-000111")["serial_number"]
    assert field.found is None
    assert "'SN-000111', which is not on any page" in field.missing


def test_a_misread_letter_does_not_hide_the_value_and_the_pages_own_word_is_returned():
    found = merged(customer_name="Widqet Works")["customer_name"].found
    assert found is not None
    assert found.value == "Widget Works"


def test_agreement_makes_a_rule_surer():
    alone = extract((SEEN,), SCHEMA)
    by_rule = next(field.found for field in alone if field.name == "product")
    together = merged(product="Knock Box Oak")["product"].found
    assert by_rule is not None
    assert together is not None
    assert together.confidence > by_rule.confidence


def test_an_invented_transcript_is_told_from_a_true_one():
    assert is_of_this_page("widget works article knock box oak 24 february 2026 sum", SEEN)
    assert not is_of_this_page("a photo of a dog on a lawn", SEEN)
