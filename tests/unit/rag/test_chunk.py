from __future__ import annotations

import itertools
import time

from hypothesis import given
from hypothesis import strategies as st

from partage.rag.chunk import MAX_CHARACTERS, chunk_pages, sentences

PROSE = st.text(alphabet=st.sampled_from("aAäß1 .!?:#-\n\t|„“"), max_size=3000)


@given(st.lists(st.one_of(PROSE, st.text(max_size=2000)), max_size=4))
def test_every_chunk_is_exactly_its_span_of_the_page(pages: list[str]):
    for chunk in chunk_pages(pages):
        assert chunk.text == pages[chunk.page - 1][chunk.start : chunk.end]
        assert 0 < len(chunk.text) <= MAX_CHARACTERS
        assert chunk.text == chunk.text.strip()


@given(st.one_of(PROSE, st.text(max_size=2000)))
def test_nothing_but_white_space_is_left_out(page: str):
    kept = [False] * len(page)
    for chunk in chunk_pages([page]):
        kept[chunk.start : chunk.end] = [True] * (chunk.end - chunk.start)
    assert all(known or character.isspace() for known, character in zip(kept, page, strict=True))


@given(PROSE)
def test_sentences_are_in_order_and_never_overlap(page: str):
    found = sentences(page)
    assert all(before.end <= after.start for before, after in itertools.pairwise(found))


def texts(page: str) -> list[str]:
    return [page[one.start : one.end] for one in sentences(page)]


def test_abbreviations_and_dates_end_no_sentence():
    page = "Die Frist beträgt z. B. 14 Tage ab dem 3. März. Danach gilt Abs. 2 der Regeln. Dr. Meier hilft."
    assert texts(page) == [
        "Die Frist beträgt z. B. 14 Tage ab dem 3. März.",
        "Danach gilt Abs. 2 der Regeln.",
        "Dr. Meier hilft.",
    ]


def test_lines_of_a_form_stay_apart_and_wrapped_lines_stay_together():
    page = (
        "Order number: 4711\nSerial: SN-9\nReason: does not start\n\n"
        "Please send the device back in its box, together with the\ncharger and this form."
    )
    assert texts(page) == [
        "Order number: 4711",
        "Serial: SN-9",
        "Reason: does not start",
        "Please send the device back in its box, together with the\ncharger and this form.",
    ]


def test_chunk_knows_the_headings_above_it_even_from_the_page_before():
    body = "This sentence says something of some length about it. " * 6
    chunks = chunk_pages([f"# Returns\n\n## Shipping\n\n{body}\n\n## Refunds\n\n{body}", body])
    assert [(chunk.page, chunk.heading) for chunk in chunks] == [
        (1, "Returns > Shipping"),
        (1, "Returns > Refunds"),
        (2, "Returns > Refunds"),
    ]


def test_neighbouring_chunks_share_their_border():
    page = " ".join(f"Sentence number {number} is about thing {number}." for number in range(60))
    chunks = chunk_pages([page])
    assert len(chunks) > 3
    assert all(after.start < before.end for before, after in itertools.pairwise(chunks))


def test_line_that_begins_with_a_number_is_no_heading_unless_it_stands_alone_like_one():
    page = "2.1 Shipping costs\n\nWarranty:\n24 months from purchase\n1. Press the button\n2. Wait"
    assert [page[one.start : one.end] for one in sentences(page) if one.heading] == ["2.1 Shipping costs"]


def test_a_line_of_nothing_but_marks_costs_no_time():
    """An expression that takes the square of its text cannot be stopped, and holds up whoever else is in the process."""
    began_s = time.process_time()
    chunks = chunk_pages(["# " + "#" * 150_000 + " x\n\nThe pump is red."])
    assert time.process_time() - began_s < 5, "it took minutes"
    assert chunks[-1].text.endswith("The pump is red.")
