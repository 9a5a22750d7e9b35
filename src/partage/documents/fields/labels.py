"""Finds labels on the page ("Order number", "Kaufdatum:") and the value each stands for: behind it, beside it, or below.

Labels are compared without case and punctuation and with a letter or two wrong, as recognisers and typists leave them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher

from partage.documents.fields.found import Sheet
from partage.documents.layout import Row
from partage.documents.page import Segment, Word

LONGEST_LABEL_WORDS = 6
CLOSE_ENOUGH = 0.87
MOST_TOLERANT_ROWS = 1500
OTHER_LABELS = (
    # Not fields, but print that a neighbouring value must not run into.
    "address", "address / phone", "anschrift", "anschrift / telefon", "unit price", "price each", "price", "einzelpreis", "pos.",
    "shipping", "versand", "signature", "unterschrift", "parcel weight", "weight", "subject", "betreff", "to", "an", "sent", "gesendet",
    "phone", "telefon", "tel", "fax", "description", "i would like", "gewünscht", "shipment", "sent by", "deliver to", "page", "seite",
    "time", "cashier", "payment", "iban", "bic", "vat number", "tax number", "steuernummer", "ust-id", "discount", "rabatt", "notes",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Label:
    """One label as it stands on the page."""

    field: str
    """Empty: a label of nothing that is asked for."""
    rank: int
    """The place of this wording among the field's labels: the first is the surest."""
    row_at: int
    segment_at: int
    first: int
    last: int
    """Words of the segment, `last` excluded."""
    colon: bool
    likeness: float


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a value may stand: the words there, and how much the way from its label is worth."""

    label: Label
    page: int
    words: tuple[Word, ...]
    row_at: int
    worth: float

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)


class LabelIndex:
    """All labels of one document for one set of fields."""

    def __init__(self, sheet: Sheet, wordings: Mapping[str, tuple[str, ...]]) -> None:
        self._sheet = sheet
        # Comparing letter by letter is for misread pages and short papers; on a book it would take minutes.
        self._tolerant = len(sheet.rows) <= MOST_TOLERANT_ROWS
        self._known: dict[str, list[tuple[str, int]]] = {}
        for field, labels in wordings.items():
            for rank, label in enumerate(labels):
                self._known.setdefault(plain(label), []).append((field, rank))
        for label in OTHER_LABELS:
            self._known.setdefault(plain(label), [("", 0)])
        asked = any(wordings.values())
        self.labels = [label for at, row in enumerate(sheet.rows) for label in self._in_row(at, row)] if asked else []
        self._at = {(label.row_at, label.segment_at, label.first) for label in self.labels}

    def spots(self, field: str) -> Iterator[Spot]:
        """Possible places of the field's value; the caller checks which holds something of the right kind."""
        for label in self.labels:
            if label.field == field:
                yield from self._behind(label)
                yield from self._beside(label)
                yield from self._below(label)

    def continued(self, spot: Spot) -> tuple[Word, ...]:
        """The spot's words and those of the lines that go on from it in the same column."""
        words = list(spot.words)
        last = spot.words
        home = self._sheet.rows[spot.label.row_at].segments[spot.label.segment_at].words[0].box.left
        for at in range(spot.row_at + 1, min(spot.row_at + 8, len(self._sheet.rows))):
            row = self._sheet.rows[at]
            height = last[0].box.height
            left = spot.words[0].box.left
            piece = next(
                (
                    (position, segment)
                    for position, segment in enumerate(row.segments)
                    if min(abs(segment.box.left - left), abs(segment.box.left - home)) < 0.8 * height
                ),
                None,
            )
            below = row.box.top - max(word.box.bottom for word in last)
            if piece is None or row.page != spot.page or below > 0.75 * height or self._is_label(at, piece[0]):
                break
            if last[-1].text.endswith((".", "!", "?")) and not piece[1].text[:1].islower():
                break
            words.extend(piece[1].words)
            last = piece[1].words
        return tuple(words)

    def _in_row(self, at: int, row: Row) -> Iterator[Label]:
        for position, segment in enumerate(row.segments):
            words = segment.words
            first = 0
            while first < len(words):
                label = self._longest_at(at, position, segment, first)
                if label is None:
                    first += 1
                    continue
                yield from label
                first = label[0].last

    def _longest_at(self, at: int, position: int, segment: Segment, first: int) -> list[Label] | None:
        words = segment.words
        for last in range(min(len(words), first + LONGEST_LABEL_WORDS), first, -1):
            text = " ".join(word.text for word in words[first:last])
            if any(word.text.endswith(":") for word in words[first : last - 1]):
                continue
            colon = text.endswith((":", "#", "\uff1a")) or (last < len(words) and words[last].text[:1] in ":#\uff1a")
            likeness, meanings = self._meaning(plain(text), tolerant=self._tolerant and (first == 0 or colon))
            # In mid-sentence only a colon, or an identifier right behind, makes a word a label.
            if meanings and (first == 0 or colon or (last < len(words) and is_identifier(words[last].text))):
                return [Label(field, rank, at, position, first, last, colon, likeness) for field, rank in meanings]
        return None

    def _meaning(self, text: str, *, tolerant: bool) -> tuple[float, list[tuple[str, int]]]:
        if text in self._known:
            return 1.0, self._known[text]
        if len(text) < 6 or not tolerant:
            return 0.0, []
        best, meanings = 0.0, list[tuple[str, int]]()
        for known, fields in self._known.items():
            if abs(len(known) - len(text)) <= 2 and len(known) >= 6:
                matcher = SequenceMatcher(None, known, text, autojunk=False)
                if matcher.quick_ratio() > CLOSE_ENOUGH and (likeness := matcher.ratio()) > max(best, CLOSE_ENOUGH):
                    best, meanings = likeness, fields
        return best, meanings

    def _is_label(self, row_at: int, segment_at: int) -> bool:
        return (row_at, segment_at, 0) in self._at

    def _behind(self, label: Label) -> Iterator[Spot]:
        """In the same segment, up to the next label."""
        row = self._sheet.rows[label.row_at]
        words = row.segments[label.segment_at].words
        end = next(
            (at for at in range(label.last, len(words)) if (label.row_at, label.segment_at, at) in self._at), len(words)
        )
        value = words[label.last : end]
        while value and not re.search(r"\w", value[0].text) and value[0].text[0] in ":#-\u2013.\uff1a|":
            value = value[1:]
        if value:
            worth = 0.97 if label.colon else 0.8
            yield Spot(label, row.page, value, label.row_at, worth * label.likeness)

    def _beside(self, label: Label) -> Iterator[Spot]:
        """The next segment to the right, where the label fills its own."""
        row = self._sheet.rows[label.row_at]
        if not _is_alone(label, row):
            return
        after = [(at, row.segments[at]) for at in range(label.segment_at + 1, len(row.segments))]
        if after and re.fullmatch(r"\W+", after[0][1].text):
            after = after[1:]
        if after and not self._is_label(label.row_at, after[0][0]):
            words = after[0][1].words
            while words and re.fullmatch(r"[:#\uff1a.]+", words[0].text):
                words = words[1:]
            if words:
                yield Spot(label, row.page, words, label.row_at, (0.96 if label.colon else 0.93) * label.likeness)

    def _below(self, label: Label) -> Iterator[Spot]:
        """In the next two rows, where something starts under the label."""
        rows = self._sheet.rows
        row = rows[label.row_at]
        segment = row.segments[label.segment_at]
        head = segment.words[label.first : label.last]
        if not _is_alone(label, row):
            return
        # Cells of a form lie so close that their values run together: the next label's left edge parts them.
        end = min(
            (other.box.left for other in row.segments if other.box.left > head[-1].box.right), default=float("inf")
        )
        left, right, bottom = head[0].box.left, head[-1].box.right, max(word.box.bottom for word in head)
        for at in range(label.row_at + 1, min(label.row_at + 3, len(rows))):
            below = rows[at]
            if below.page != row.page or below.box.top - bottom > 2.6 * below.height:
                return
            for position, candidate in enumerate(below.segments):
                box = candidate.box
                starts = abs(box.left - left) < 1.5 * below.height
                covers = min(box.right, right) - max(box.left, left) > 0.5 * min(box.width, right - left)
                if (starts or covers) and not self._is_label(at, position):
                    words = candidate.words if starts else _under(candidate, left, right)
                    words = tuple(word for word in words if word.box.left < end - 0.5 * word.box.height)
                    if words:
                        yield Spot(label, row.page, words, at, (0.92 if starts else 0.8) * label.likeness)
                        return


def _is_alone(label: Label, row: Row) -> bool:
    """Nothing but specks follows the label in its segment."""
    return not any(re.search(r"\w", word.text) for word in row.segments[label.segment_at].words[label.last :])


def _under(segment: Segment, left: float, right: float) -> tuple[Word, ...]:
    return tuple(word for word in segment.words if left - word.box.height < word.box.middle_x < right + word.box.height)


def plain(text: str) -> str:
    """Letters and digits only, lower case, without accents."""
    text = unicodedata.normalize("NFKD", text.lower().replace("ß", "ss"))
    return "".join(character for character in text if character.isalnum())


def is_identifier(text: str) -> bool:
    text = text.strip(".,;:()#")
    return len(text) >= 3 and any(c.isdigit() for c in text) and re.fullmatch(r"[\w/.\-]+", text) is not None
