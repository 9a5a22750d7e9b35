from __future__ import annotations

import pytest

from partage.documents.fields.dates import dates_in, is_month_first, issue_date

from .conftest import sheet


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2026-02-03", "2026-02-03"),
        ("20180304", "2018-03-04"),
        ("12/03/2018", "2018-03-12"),
        ("12/03/18 9:34 AM", "2018-03-12"),
        ("03.02.2026", "2026-02-03"),
        ("3. März 2026", "2026-03-03"),
        ("14 Mar 2018", "2018-03-14"),
        ("24-MAR-2018", "2018-03-24"),
        ("March 25, 2018", "2018-03-25"),
        ("Feb 6, 2026", "2026-02-06"),
        ("1st June 2020", "2020-06-01"),
        ("12 décembre 2019", "2019-12-12"),
        ("25/13/2018 13/25/2018", None),
        ("31.02.2026", None),
        ("1.2012-0029", None),
        ("03-7832 6929", None),
    ],
)
def test_a_date_is_read_in_every_common_form(text: str, iso: str | None):
    assert [span.value.isoformat() for span in dates_in(text)][:1] == ([iso] if iso else [])


@pytest.mark.parametrize("text", ["28-04-201820:10:51", "04/03/201815:41:52", "22-04-1613:13"])
def test_a_date_that_is_glued_to_its_time_is_read(text: str):
    [span] = dates_in(text)
    assert text[: span.end].endswith(("2018", "16"))


def test_the_page_itself_decides_whether_the_month_comes_first():
    assert is_month_first("Invoice 03/04/2018, due 03/25/2018")
    assert not is_month_first("03/04/2018, 25/03/2018")
    assert not is_month_first("03/04/2018")


def test_a_labelled_date_outweighs_an_earlier_one_and_a_due_date():
    found = issue_date(sheet("Printed 01/01/2020\nDue date: 30/03/2020\nDate: 28/02/2020"))
    assert found is not None
    assert found.value == "2020-02-28"
    assert found.raw == "28/02/2020"
