"""An answer of the RAG service as it is drawn: its words with the marks of its citations, and each citation in its place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from partage.client.services import Answered, Cited
from partage.dashboard.numbers import seconds
from partage.json_value import JsonObject

MARK = re.compile(r"\[(\d+)\]")
AROUND = 300
"""Letters of the page before and after what is cited."""


def cited_answer(answered: Answered, pages: Mapping[tuple[str, int], str]) -> JsonObject:
    """`pages`: (document id, page) -> its text, as far as it could be had."""
    numbers = {cited.number for cited in answered.citations}
    return {
        "pieces": [*_pieces(answered.answer, numbers)],
        "supported": answered.supported,
        "degraded": answered.why_degraded if answered.degraded else "",
        "told": _told(answered),
        "citations": [_citation(cited, pages.get((cited.document_id, cited.page))) for cited in answered.citations],
    }


def _pieces(text: str, numbers: set[int]) -> Iterator[JsonObject]:
    """The text, cut at each mark that has a citation."""
    done = 0
    for mark in MARK.finditer(text):
        if int(mark[1]) in numbers:
            yield {"text": text[done : mark.start()], "cite": None}
            yield {"text": "", "cite": int(mark[1])}
            done = mark.end()
    yield {"text": text[done:], "cite": None}


def _citation(cited: Cited, page: str | None) -> JsonObject:
    before, marked, after = _in_place(cited, page or "")
    return {
        "number": cited.number,
        "document": cited.document,
        "page": cited.page,
        "before": before,
        "marked": marked,
        "after": after,
    }


def _in_place(cited: Cited, page: str) -> tuple[str, str, str]:
    """What stands before it, itself, what stands after it; alone where the page is another than was cited."""
    begin, end = cited.span
    if not 0 <= begin < end <= len(page):
        return "", cited.text, ""
    first, last = max(0, begin - AROUND), min(len(page), end + AROUND)
    before = ("…" if first > 0 else "") + page[first:begin]
    return before, page[begin:end], page[end:last] + ("…" if last < len(page) else "")


def _told(answered: Answered) -> str:
    parts = [f"by {answered.model}" if answered.model else "without a chat model"]
    if "total_s" in answered.timings:
        parts.append(f"in {seconds(answered.timings['total_s'])}")
    return " ".join(parts)
