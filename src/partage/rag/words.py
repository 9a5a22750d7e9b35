"""The little we know of English and German: which words carry no meaning, and which language a text is in."""

from __future__ import annotations

import re
import unicodedata
from enum import StrEnum

WORD = re.compile(r"[^\W_]+")
ROOT_LETTERS = 6


class Language(StrEnum):
    ENGLISH = "english"
    GERMAN = "german"


ENGLISH = """a about after all am an and any are as at be been but by can could did do does for from get had has have he her
him his how i if in into is it its like many may me more much must my no not of on or our out over she should so some
such than that the their them then there these they this those to under up us was we were what when where which who
whom whose why will with would you your"""
GERMAN = """aber alle als also am an auch auf aus bei bin bis bitte da damit dann das dass dein dem den der des die dies diese
diesem diesen dieser dieses doch du durch ein eine einem einen einer eines er es euch für gibt habe haben hat hatte ich
ihr im in ist ja kann kein keine können man mein mich mir mit muss müssen nach nicht noch nur ob oder ohne sein seine
sich sie sind so soll über um und uns unser unter viel viele vom von vor wann war warum was welche welcher welches wenn
wer werden wie wieviel wir wird wo wurde zu zum zur zwischen"""

STOP_WORDS = {Language.ENGLISH: frozenset(ENGLISH.split()), Language.GERMAN: frozenset(GERMAN.split())}
# "an", "in", "am" and "so" are both; only what one language has to itself tells them apart.
SHARED = STOP_WORDS[Language.ENGLISH] & STOP_WORDS[Language.GERMAN]


def language_of(text: str) -> Language:
    """English unless more German words say otherwise."""
    telling = [word for word in (word.lower() for word in WORD.findall(text)) if word not in SHARED]
    german = sum(word in STOP_WORDS[Language.GERMAN] for word in telling)
    english = sum(word in STOP_WORDS[Language.ENGLISH] for word in telling)
    return Language.GERMAN if german > english else Language.ENGLISH


def content_words(text: str) -> list[str]:
    """Drop what carries no meaning in the text's language; everything stays where nothing would be left."""
    words = WORD.findall(text)
    stop = STOP_WORDS[language_of(text)]
    return [word for word in words if word.lower() not in stop] or words


def roots(text: str) -> frozenset[str]:
    """Give the content words without case, accents and endings, to compare sentences by.

    A crude stem that serves both languages: the first letters. The index has the real ones.
    """
    folded = (unicodedata.normalize("NFKD", word.casefold()) for word in content_words(text))
    return frozenset("".join(c for c in word if not unicodedata.combining(c))[:ROOT_LETTERS] for word in folded)
