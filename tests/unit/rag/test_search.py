from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partage.rag.search import cosine, fuse, shared_words

RANKED = st.lists(st.lists(st.integers(0, 20), unique=True, max_size=8), min_size=1, max_size=4)


def test_first_of_all_lists_scores_one():
    assert fuse([["a", "b"], ["a", "c"]])["a"] == pytest.approx(1.0)


def test_second_in_both_lists_beats_first_in_one():
    scores = fuse([["a", "b"], ["c", "b"]])
    assert max(scores, key=lambda name: scores[name]) == "b"


@given(RANKED)
def test_scores_lie_between_zero_and_one_and_follow_each_lists_order_where_it_is_alone(ranked: list[list[int]]):
    assert all(0 < score <= 1 + 1e-9 for score in fuse(ranked).values())
    alone = fuse(ranked[:1])
    assert sorted(alone, key=lambda one: -alone[one]) == ranked[0]


def test_cosine_of_nothing_is_zero():
    assert cosine([0, 0], [1, 0]) == 0.0
    assert cosine([1, 1], [2, 2]) == pytest.approx(1.0)


def test_shared_words_see_through_endings_accents_and_case():
    assert shared_words("Which returns are refunded?", "A return is REFUNDABLE.") == 1.0
    assert shared_words("Rücksendungen", "die Rucksendung") == 1.0
    assert shared_words("Wer zahlt die Ware?", "Er ist da.") == 0.0
