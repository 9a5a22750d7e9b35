from __future__ import annotations

import math
from dataclasses import replace

from partage.documents.layout import Row, rows, split_at_gaps, text
from partage.documents.page import Box, Page, Segment, Word

from .conftest import page, segment


def turned(flat: Page, angle_rad: float) -> Page:
    """The same page, laid askew on the scanner."""
    cos, sin = math.cos(angle_rad), math.sin(angle_rad)

    def moved(word: Word) -> Word:
        x, y = word.box.middle_x, word.box.middle_y
        x, y = x * cos - y * sin, x * sin + y * cos
        half_width, half_height = word.box.width / 2, word.box.height / 2
        return replace(word, box=Box(x - half_width, y - half_height, x + half_width, y + half_height))

    segments = tuple(Segment(tuple(moved(word) for word in segment.words)) for segment in flat.segments)
    return replace(flat, segments=segments, skew_rad=angle_rad)


def test_segments_on_one_line_are_one_row_from_left_to_right():
    flat = page("Total      12.00\nCash       20.00")
    shuffled = replace(flat, segments=flat.segments[::-1])
    assert text(shuffled) == "Total  12.00\nCash  20.00"


def test_a_page_that_lies_askew_has_the_same_rows():
    flat = page(
        "RMA number                              SO-1234\nQuantity                                      2\nTotal     9.00"
    )
    assert text(turned(flat, 0.06)) == text(flat)
    assert text(turned(flat, -0.06)) == text(flat)


def test_segments_over_each_other_never_share_a_row():
    stacked = replace(page("x"), segments=(segment("Jalan Besar 5", 0, 0), segment("50250 Town", 0, 8)))
    assert [row.text for row in rows(stacked)] == ["Jalan Besar 5", "50250 Town"]


def test_characters_of_a_row_lead_back_to_their_words():
    [row] = rows(page("Date: 12/03/2018   No. 77"))
    start = row.text.index("12/03")
    assert [word.text for word in row.words_between(start, start + 10)] == ["12/03/2018"]


def test_a_wide_gap_parts_columns_and_words():
    [row] = rows(page("Acme Ltd             INVOICE"))
    assert [piece.text for piece in row.pieces] == ["Acme Ltd", "INVOICE"]
    pieces = split_at_gaps(list(row.words), gap_heights=1.0)
    assert [piece.text for piece in pieces] == ["Acme Ltd", "INVOICE"]


def test_a_row_is_as_high_as_its_letters():
    assert Row(1, (segment("a b", 0, 0),)).height == 20.0
