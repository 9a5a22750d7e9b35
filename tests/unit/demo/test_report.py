from __future__ import annotations

from dataclasses import replace
from io import StringIO

import msgspec
import pytest
from rich.console import Console

from partage.demo.outcome import (
    Citation,
    DemoResult,
    DevicePeak,
    DocumentOutcome,
    FieldRead,
    PageRead,
    QuestionOutcome,
    Turn,
    Verdict,
    exact_share,
)
from partage.demo.report import render, to_json
from partage.demo.status import ClientState, Quantiles, Resident


def field(name: str = "rma_number", verdict: Verdict = Verdict.EXACT) -> FieldRead:
    read, truth = {
        Verdict.EXACT: ("RMA-1", "RMA-1"),
        Verdict.WRONG: ("RMA-7", "RMA-1"),
        Verdict.MISSING: (None, "RMA-1"),
        Verdict.INVENTED: ("RMA-1", None),
        Verdict.ABSENT: (None, None),
    }[verdict]
    return FieldRead(field=name, read=read, truth=truth, verdict=verdict)


FORM = DocumentOutcome(
    name="01-form",
    kind="text",
    pages=(PageRead(1, "text_layer", 0.02),),
    fields=(field(), field("x", Verdict.ABSENT)),
    seconds=0.05,
)
SCAN = DocumentOutcome(name="08-scan", kind="scan", pages=(PageRead(1, "ocr", 2.5),), fields=(field(),), seconds=5.0)
TURN = Turn(question="Hello?", answer="Good morning.", ttft_s=0.1, seconds=0.6, output_tokens=41)
GOOD = DemoResult(
    seconds=41.0,
    chat_model="smollm2:135m",
    chat_alone=(TURN, TURN),
    chat_beside=(replace(TURN, ttft_s=0.2, seconds=1.2),),
    documents=(FORM, SCAN),
    documents_s=21.5,
    indexed=4,
    questions=(
        QuestionOutcome(
            question="How many days?",
            expected="returns_policy.md",
            answer="Within 30 days. [brackets] stay",
            citations=(Citation("returns_policy.md", None, "within 30 days after delivery"),),
            cited=True,
            answered=True,
            seconds=1.5,
        ),
    ),
    residents=(
        Resident(
            model="smollm2:135m", devices=["host"], estimated_bytes=220 << 20, measured_bytes=200 << 20, load_s=0.5
        ),
    ),
    clients=(ClientState(name="chat", class_="interactive", requests=9, ttft_s=Quantiles(p50=0.1, p95=0.2)),),
    devices=(DevicePeak(device="host", name="CPU", peak_bytes=300 << 20, budget_bytes=8 << 30),),
)


def text_of(result: DemoResult, *, terminal: bool = False, width: int = 100) -> str:
    out = StringIO()
    render(result, Console(file=out, force_terminal=terminal, width=width, color_system=None))
    return out.getvalue()


def with_field(document: DocumentOutcome, verdict: Verdict) -> DocumentOutcome:
    return replace(document, fields=(field(verdict=verdict),))


def test_report_shows_what_was_measured():
    text = text_of(GOOD)
    for shown in (
        "smollm2:135m",
        "220.0 MiB",
        "200.0 MiB",
        "+10.0%",
        "100 ms",
        "2.00x",
        "80.0",
        "21.50 s",
        "at most 300.0 MiB held of 8,192.0 MiB",
    ):
        assert shown in text
    assert "01-form" in text
    assert "text layer" in text
    assert "Everything that must hold holds" in text


def test_report_that_is_no_terminal_has_no_escape_codes_and_is_not_cut_to_80_columns():
    text = text_of(GOOD, width=80)
    assert "\x1b" not in text
    assert max(len(line.rstrip()) for line in text.splitlines()) > 80


def test_brackets_in_what_was_read_are_shown_and_not_taken_for_markup():
    assert "[brackets] stay" in text_of(GOOD)


def test_good_run_ends_with_0():
    assert GOOD.problems == ()
    assert GOOD.exit_code == 0


FAILURES = {
    "wrong field in a text layer": replace(GOOD, documents=(with_field(FORM, Verdict.WRONG), SCAN)),
    "missing field in a text layer": replace(GOOD, documents=(with_field(FORM, Verdict.MISSING), SCAN)),
    "invented field in a text layer": replace(GOOD, documents=(with_field(FORM, Verdict.INVENTED), SCAN)),
    "document not processed": replace(GOOD, documents=(replace(FORM, fields=(), error="broken"), SCAN)),
    "scans below their share": replace(GOOD, documents=(FORM, with_field(SCAN, Verdict.WRONG))),
    "chat turn failed": replace(GOOD, chat_beside=(replace(TURN, error="engine gone"),)),
    "empty answer": replace(GOOD, chat_alone=(replace(TURN, answer=" "),)),
    "no chat beside documents": replace(GOOD, chat_beside=()),
    "no citation": replace(GOOD, questions=(replace(GOOD.questions[0], cited=False),)),
    "no fact": replace(GOOD, questions=(replace(GOOD.questions[0], answered=False),)),
    "question failed": replace(GOOD, questions=(replace(GOOD.questions[0], error="timeout"),)),
    "over budget": replace(GOOD, devices=(replace(GOOD.devices[0], budget_bytes=1),)),
    "not indexed": replace(GOOD, errors=("manual.pdf: not indexed: 500",)),
}


@pytest.mark.parametrize("result", FAILURES.values(), ids=FAILURES)
def test_whatever_must_hold_and_does_not_ends_with_1_and_is_said(result: DemoResult):
    assert result.exit_code == 1
    [problem] = result.problems
    assert problem.split(":")[0] in text_of(result)
    assert "1 thing that must hold did not" in text_of(result)


def test_nearly_all_fields_of_scans_are_enough():
    scan = replace(SCAN, fields=(*(field(f"f{number}") for number in range(19)), field(verdict=Verdict.WRONG)))
    assert replace(GOOD, documents=(FORM, scan)).problems == ()


def test_invented_fields_lower_the_share_and_absent_ones_do_not_raise_it():
    scan = replace(SCAN, fields=(field(), field("y", Verdict.INVENTED), field("z", Verdict.ABSENT)))
    assert exact_share((scan,), scanned=True) == 0.5
    assert exact_share((scan,), scanned=False) is None


def test_json_is_the_whole_result_as_one_object():
    said = msgspec.json.decode(msgspec.json.encode(to_json(FAILURES["no citation"])))
    assert said["exit_code"] == 1
    assert len(said["problems"]) == 1
    assert said["documents"][0]["fields"][0] == {
        "field": "rma_number", "read": "RMA-1", "truth": "RMA-1", "verdict": "exact", "page": None, "confidence": None
    }  # fmt: skip
    assert said["residents"][0]["measured_bytes"] == 200 << 20


def test_report_of_an_empty_result_renders():
    empty = replace(
        GOOD, chat_alone=(), chat_beside=(), documents=(), questions=(), residents=(), clients=(), devices=()
    )
    assert "no turn was held" in text_of(empty)
