from __future__ import annotations

import pytest

from partage.demo.outcome import Citation, Verdict
from partage.demo.samples.knowledge import MANUAL, POLICY, Question
from partage.demo.samples.returns import Value
from partage.demo.score import is_answered, is_cited, judge

TORQUE = Question("To what torque?", MANUAL, 6, "4.5 Nm")
FEE = Question("How high is the fee?", POLICY, None, "15 percent")


@pytest.mark.parametrize(
    ("read", "truth", "verdict"),
    [
        ("RMA-2026-004217", "RMA-2026-004217", Verdict.EXACT),
        ("amelia  hartwell", "Amelia Hartwell", Verdict.EXACT),
        ("leaks at the joint", "Leaks at the joint.", Verdict.EXACT),
        ("Weißmu\u0308ller", "Weißmüller", Verdict.EXACT),
        ("Weissmüller", "Weißmüller", Verdict.EXACT),
        ("RMA-2026-004271", "RMA-2026-004277", Verdict.WRONG),
        ("AmeliaHartwell", "Amelia Hartwell", Verdict.WRONG),
        (899, 899.0, Verdict.EXACT),
        ("899.00", 899.0, Verdict.EXACT),
        (899.01, 899.0, Verdict.WRONG),
        ("899,00 EUR", 899.0, Verdict.WRONG),
        ("2026-02-03", "2026-02-03", Verdict.EXACT),
        ("2026-03-02", "2026-02-03", Verdict.WRONG),
        (None, "SO-481207", Verdict.MISSING),
        ("", "SO-481207", Verdict.MISSING),
        ("SO-481207", None, Verdict.INVENTED),
        (0, None, Verdict.INVENTED),
        (None, None, Verdict.ABSENT),
    ],
)
def test_judge(read: Value, truth: Value, verdict: Verdict):
    assert judge(read, truth) is verdict


def test_citation_of_the_right_document_on_the_wrong_page_is_not_right():
    assert is_cited(TORQUE, [Citation(MANUAL, 2, ""), Citation(MANUAL, 6, "")])
    assert not is_cited(TORQUE, [Citation(MANUAL, 5, ""), Citation(POLICY, 6, "")])


def test_document_without_pages_is_cited_by_its_name():
    assert is_cited(FEE, [Citation(POLICY, 1, "")])
    assert not is_cited(FEE, [])


def test_fact_is_found_across_line_breaks_but_not_in_another_number():
    assert is_answered(TORQUE, "Tighten it to 4.5\nNm, not more.")
    assert is_answered(FEE, "A restocking fee of 15\n  percent is deducted")
    assert not is_answered(TORQUE, "Tighten it to 14.5 Nm.")
