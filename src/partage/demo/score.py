"""Compares what was read with what is printed: fields against the truth, answers against the fact and the page."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import PurePath

from partage.demo.outcome import Citation, Verdict
from partage.demo.samples.knowledge import Question
from partage.demo.samples.returns import Value


def judge(read: Value, truth: Value) -> Verdict:
    if truth is None:
        return Verdict.ABSENT if read in (None, "") else Verdict.INVENTED
    if read in (None, ""):
        return Verdict.MISSING
    return Verdict.EXACT if equal(read, truth) else Verdict.WRONG


def equal(read: Value, truth: Value) -> bool:
    """Numbers by value; text without regard to case, the width of spaces and a full stop at the end, but every letter."""
    if isinstance(truth, int | float):
        try:
            return abs(float(read or 0) - truth) < 0.005
        except ValueError:
            return False
    return plain(str(read)) == plain(str(truth))


def plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).casefold().split()).rstrip(".,;: ")


def is_cited(question: Question, citations: Sequence[Citation]) -> bool:
    return any(
        PurePath(citation.document).name == question.document
        and (question.page is None or citation.page == question.page)
        for citation in citations
    )


def is_answered(question: Question, answer: str) -> bool:
    """The fact is in the answer, whatever line breaks and punctuation came between."""
    return f" {_words(question.fact)} " in f" {_words(answer)} "


def _words(text: str) -> str:
    return " ".join(re.findall(r"[\w.]*\w", unicodedata.normalize("NFC", text).casefold()))
