from __future__ import annotations

import pytest

from partage.rag.words import Language, content_words, language_of


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Die Garantie beträgt zwei Jahre und gilt für alle Teile.", Language.GERMAN),
        ("The warranty is two years and covers all parts.", Language.ENGLISH),
        ("SN-4711", Language.ENGLISH),
    ],
)
def test_language_is_told_by_its_small_words(text: str, language: Language):
    assert language_of(text) is language


def test_goods_stay_in_a_german_question_though_their_stem_is_that_of_a_small_word():
    assert content_words("Was kostet die Ware?") == ["kostet", "Ware"]


def test_question_of_small_words_alone_keeps_them():
    assert content_words("To be or not to be") == ["To", "be", "or", "not", "to", "be"]
