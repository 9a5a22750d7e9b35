from __future__ import annotations

import numpy as np

from partage.documents.ctc import decode, unconfused

CHARACTERS = ["blank", "A", "B", "2", ".", " "]
SPACE = CHARACTERS.index(" ")


def columns(*steps: str, hints: dict[int, float] | None = None) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    table = np.full((len(steps), len(CHARACTERS)), 0.001, dtype=np.float32)
    for at, step in enumerate(steps):
        table[at, 0 if step == "-" else CHARACTERS.index(step)] = 0.9
    for at, probability in (hints or {}).items():
        table[at, SPACE] = probability
    return table


def words(table: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> list[str]:
    return [word.text for word in decode(table, CHARACTERS, space=SPACE)]


def test_repeats_are_one_letter_and_a_blank_parts_two():
    assert words(columns("A", "A", "-", "A", "B")) == ["AAB"]


def test_a_space_the_recogniser_nearly_saw_is_brought_back():
    assert words(columns("A", "-", "B")) == ["AB"]
    assert words(columns("A", "-", "B", hints={1: 0.06})) == ["A", "B"]


def test_inside_a_number_a_weak_hint_is_no_space():
    assert words(columns("2", "-", ".", "-", "2", hints={1: 0.1, 3: 0.1})) == ["2.2"]
    assert words(columns("2", "-", "2", hints={1: 0.5})) == ["2", "2"]


def test_words_know_their_columns_and_confidence():
    [first, second] = decode(columns("A", "B", " ", "-", "A"), CHARACTERS, space=SPACE)
    assert (first.first_column, first.last_column, second.first_column) == (0, 1, 4)
    assert 0.89 < first.confidence < 0.91


def test_letters_that_can_only_be_another_are_put_right():
    assert unconfused("BIk") == "Blk"
    assert unconfused("29O,") == "290,"
    assert unconfused("SO-481207") == "SO-481207"
    assert unconfused("TOMATO") == "TOMATO"


def test_a_smudge_is_no_accent_where_the_plain_letter_is_possible():
    table = np.array([[0, 0.1, 0.9], [0, 0.001, 0.9]], dtype=np.float32)
    assert decode(table[:1], ["blank", "A", "Á"], space=0)[0].text == "A"
    assert decode(table[1:], ["blank", "A", "Á"], space=0)[0].text == "Á"
