from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partage.rag.chunk import chunk_pages
from partage.rag.compose import (
    best,
    candidates,
    checked,
    first_sentence,
    prompt,
    quoted,
    supported,
    trusted,
)
from partage.rag.search import Hit
from partage.rag.store import Passage

PAGE = (
    "# Returns\n\nGoods may be sent back within 30 days of delivery. The parcel must carry the RMA number.\n\n"
    "Ask the service desk for a number first. Without one the parcel is sent back."
)


def hits(*pages: str, similarity: float = 0.5) -> list[Hit]:
    return [
        Hit(
            Passage(
                id=f"{name}:{chunk.page}",
                document_id=f"id of {name}",
                document=name,
                page=chunk.page,
                start=chunk.start,
                end=chunk.end,
                text=chunk.text,
                heading=chunk.heading,
                vector=[],
            ),
            1.0,
            similarity,
        )
        for name, page in zip("abcdef", pages, strict=False)
        for chunk in chunk_pages([page])
    ]


def test_citations_of_passages_that_do_not_exist_are_removed():
    answer = checked("Thirty days [1], paid by you [4]. See [2, 9] and [0].", 2)
    assert answer.text == "Thirty days [1], paid by you. See [2] and."
    assert answer.cited == (1, 2)


@given(st.text(alphabet="[]0123456789, ab", max_size=60), st.integers(0, 5))
def test_no_citation_survives_that_is_not_of_a_passage(answer: str, passages: int):
    once = checked(answer, passages)
    assert all(1 <= number <= passages for number in once.cited)
    assert set(checked(once.text, passages).cited) <= set(range(1, passages + 1))


def test_best_sentence_is_the_one_that_shares_the_questions_words():
    found = hits(PAGE)
    [quote, *_] = best("Within how many days may goods be sent back?", candidates(found), {}, found)
    assert quote.text == "Goods may be sent back within 30 days of delivery."
    assert PAGE[quote.start : quote.end] == quote.text
    assert quoted([quote]) == "Goods may be sent back within 30 days of delivery. [1]"


def test_meaning_outweighs_words_where_vectors_are_known():
    found = hits(PAGE)
    among = candidates(found)
    meant = next(index for index, one in enumerate(among) if "service desk" in one.text)
    [quote, *_] = best("Whom do I call?", among, {meant: 0.9}, found)
    assert quote == among[meant]


def test_same_sentence_is_quoted_once_even_from_two_documents():
    found = hits(PAGE, PAGE)
    chosen = best("Within how many days may goods be sent back?", candidates(found), {}, found)
    assert len({quote.text for quote in chosen}) == len(chosen)


def test_headings_are_no_answers():
    assert all("Returns" not in one.text for one in candidates(hits(PAGE)))


def test_short_line_is_quoted_with_the_one_after_it():
    among = candidates(hits("Warranty:\n24 months from the day on which it was bought"))
    assert among[0].text == "Warranty:\n24 months from the day on which it was bought"


def test_passages_that_share_neither_words_nor_meaning_support_nothing():
    found = hits(PAGE, similarity=0.1)
    assert not supported("Who won the football match?", found)
    assert supported("How many days?", found)
    assert supported("Qui a gagné?", hits(PAGE, similarity=0.6))
    assert not supported("anything", [])


@pytest.mark.parametrize(
    ("sentence", "stays"),
    [
        ("You may send the goods back within 30 days of delivery.", True),
        ("You may send the goods back within 45 days of delivery.", False),
        ("Goods are a wonderful thing that people produce.", False),
        ("Within how many days may goods be sent back?", False),
        ("Goods may be sent back.", False),  # adds nothing to the question but its own words
        ("I'm sorry for the mistake.", False),
        ("", False),
    ],
)
def test_tiny_models_sentence_stays_only_if_it_says_what_the_quotes_say(sentence: str, stays: bool):
    among = candidates(hits(PAGE))
    assert trusted(sentence, "Within how many days may goods be sent back?", among) is stays


def test_question_for_a_number_is_answered_with_one():
    page = "The firmware is updated from the menu. The update takes about 5 minutes. Updates are free of charge."
    found = hits(page)
    among = candidates(found)
    level = dict.fromkeys(range(len(among)), 0.5)
    assert "5 minutes" in best("How long does an update of the firmware take?", among, level, found)[0].text


def test_only_the_first_sentence_of_a_rambling_model_is_kept():
    assert first_sentence("  You have\n30 days. I hope this helps! Also") == "You have 30 days."
    assert first_sentence(" \n ") == ""


def test_prompt_numbers_the_passages_as_they_are_cited():
    [_, asked] = prompt("How long?", hits(PAGE, "Other text."))
    assert "[1] a, page 1, Returns\n" in asked.content
    assert "[2] b, page 1\nOther text." in asked.content


def test_a_word_that_few_sentences_say_tells_more_than_one_that_all_say():
    found = hits("The Duo 58 has error codes. E05 means that the tank is empty. The Duo 58 is reset with a key.")
    (first, *_) = best("What does error code E05 of the Duo 58 mean?", candidates(found), {}, found)
    assert "E05 means" in first.text


def test_a_question_for_a_reason_is_answered_with_one():
    found = hits(
        "Daniel Okafor returns his frother on Monday by parcel from Lagos. Reason for the claim: the plate burns milk."
    )
    (first, *_) = best("Why does Daniel Okafor return his frother?", candidates(found), {}, found)
    assert "burns" in first.text
