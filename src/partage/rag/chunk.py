"""Cuts page texts into chunks that an embedder can take in, each with its exact place: page.text[start:end] == chunk.text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# all-minilm sees 256 tokens: about 1000 characters of English, 700 of German.
MAX_CHARACTERS = 700
MIN_CHARACTERS = 200  # a heading begins a new chunk only when the one before has this much
OVERLAP_CHARACTERS = 120

MARKDOWN_HEADING = re.compile(r"(#{1,6})\s+(.+?)\s*#*$")
NUMBERED_HEADING = re.compile(r"(\d{1,2}(?:\.\d{1,2}){0,3})\.?\s+(?=[^\W\d_])([^.!?:;]{2,60})$")
LIST_ITEM = re.compile(r"(?:[-*+•\u2013]|\d{1,2}[.)]|\([a-z\d]\)|\|)\s")
LABELLED = re.compile(r"[^\W\d_][^:]{1,40}:(?:\s|$)")
SENTENCE_END = re.compile(r"[.!?…]{1,4}[\"'”\u2019»«)\]]{0,3}\s+(?=[\"'“„\u2018»«(\[]?[^\W_a-z])")
ABBREVIATION = re.compile(
    r"(?:\b(?:[^\W\d_]|e\.g|i\.e|etc|vs|cf|no|nr|dr|mr|mrs|ms|prof|st|str|tel|fig|art|abs|bzw|ca|ggf|inkl|evtl|usw|vgl|zzgl"
    r"|mind|max|min|approx|incl|inc|ltd))\.\s+$",
    re.IGNORECASE,
)
# "dem 3. März": in German a number with a full stop is an ordinal, but only these follow one often enough to tell.
ORDINAL = re.compile(
    r"\d{1,2}\.\s+(?:Jan|Feb|Mär|Apr|Mai|Jun|Jul|Aug|Sep|Okt|Nov|Dez|Quartal|Tag|Woche|Monat)[^\W\d_]*"
)


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence, list item, table line or heading: [start, end) in the page's text, without white space around it."""

    start: int
    end: int
    heading: bool = False


@dataclass(frozen=True, slots=True)
class Chunk:
    page: int
    """Counted from 1."""
    start: int
    end: int
    text: str
    heading: str
    """The headings above it: "Returns > Shipping"."""


def chunk_pages(pages: Sequence[str]) -> list[Chunk]:
    above: list[tuple[int, str]] = []
    return [chunk for number, page in enumerate(pages, start=1) for chunk in _chunk_page(number, page, above)]


def _chunk_page(number: int, text: str, above: list[tuple[int, str]]) -> Iterator[Chunk]:
    """`above` is the path of headings; it goes on from page to page."""
    held: list[Sentence] = []
    heading = _path(above)
    for sentence in sentences(text):
        if held and (
            (sentence.heading and held[-1].end - held[0].start >= MIN_CHARACTERS)
            or sentence.end - held[0].start > MAX_CHARACTERS
        ):
            yield Chunk(number, held[0].start, held[-1].end, text[held[0].start : held[-1].end], heading)
            held = [] if sentence.heading else _tail(held, sentence)
            heading = _path(above)
        if sentence.heading:
            _enter(above, text[sentence.start : sentence.end])
            if not held or all(one.heading for one in held):
                heading = _path(above)
        held.append(sentence)
    if held:
        yield Chunk(number, held[0].start, held[-1].end, text[held[0].start : held[-1].end], heading)


def _tail(held: list[Sentence], following: Sentence) -> list[Sentence]:
    """Repeat the last sentences of a chunk in the next, as many as are short enough."""
    return [
        one
        for one in held
        if held[-1].end - one.start <= OVERLAP_CHARACTERS and following.end - one.start <= MAX_CHARACTERS
    ]


def _enter(above: list[tuple[int, str]], line: str) -> None:
    if match := MARKDOWN_HEADING.match(line):
        level, title = len(match[1]), match[2]
    elif match := NUMBERED_HEADING.match(line):
        level, title = match[1].count(".") + 1, line
    else:
        level, title = 6, line
    while above and above[-1][0] >= level:
        above.pop()
    above.append((level, title))


def _path(above: list[tuple[int, str]]) -> str:
    return " > ".join(title for _, title in above)


def sentences(text: str) -> list[Sentence]:
    """Cut a page at headings, list items, labelled lines, paragraphs and sentence ends; none exceeds MAX_CHARACTERS."""
    found: list[Sentence] = []
    for start, end, heading in _blocks(text):
        if heading:
            found.extend(Sentence(*span, heading=end - start <= MAX_CHARACTERS) for span in _cut(text, start, end))
            continue
        begin = start
        for match in SENTENCE_END.finditer(text, start, end):
            if _ends_sentence(text, start, match):
                found.extend(Sentence(*span) for span in _cut(text, begin, match.end()))
                begin = match.end()
        found.extend(Sentence(*span) for span in _cut(text, begin, end))
    return found


def _blocks(text: str) -> Iterator[tuple[int, int, bool]]:
    """Yield (start, end, is heading): lines that belong together, as a soft-wrapped paragraph does."""
    lines = [(match.start(), match.end()) for match in re.finditer(r"[^\n]+", text) if match[0].strip()]
    start = -1
    for index, (begin, end) in enumerate(lines):
        previous = lines[index - 1] if index else None
        following = lines[index + 1] if index + 1 < len(lines) else None
        apart = previous is None or text.count("\n", previous[1], begin) > 1
        heading = _is_heading(text[begin:end].strip(), alone=apart and _ends_paragraph(text, end, following))
        if heading:
            if start >= 0 and previous:
                yield start, previous[1], False
            yield begin, end, True
            start = -1
        elif start < 0:
            start = begin
        elif previous and (apart or not _goes_on(text[slice(*previous)], text[begin:end])):
            yield start, previous[1], False
            start = begin
    if start >= 0:
        yield start, lines[-1][1], False


def _ends_sentence(text: str, start: int, match: re.Match[str]) -> bool:
    if match.start() - start <= 2 and text[start : match.start()].isdecimal():  # the number of a list item
        return False
    digits = re.search(r"\d{1,2}$", text[max(start, match.start() - 2) : match.start()])
    if digits and ORDINAL.match(text, match.start() - len(digits[0])):
        return False
    return not ABBREVIATION.search(text, max(start, match.start() - 12), match.end())


def _ends_paragraph(text: str, end: int, following: tuple[int, int] | None) -> bool:
    return following is not None and text.count("\n", end, following[0]) > 1


def _is_heading(line: str, *, alone: bool) -> bool:
    if len(line) > MAX_CHARACTERS:  # nor are the expressions made for it: they take the square of its length
        return False
    if MARKDOWN_HEADING.match(line):
        return True
    title = NUMBERED_HEADING.sub(r"\2", line)
    return alone and len(title) <= 60 and title[0].isupper() and title[-1].isalnum() and not LABELLED.match(title)


def _goes_on(line: str, following: str) -> bool:
    """Whether the second line only continues the first, which was full."""
    following = following.strip()
    if LIST_ITEM.match(following) or LABELLED.match(following):
        return False
    return len(line.rstrip()) >= 45 or following[:1].islower()


def _cut(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the span without white space around it, in pieces of at most MAX_CHARACTERS, cut at white space."""
    while True:
        while start < end and text[start].isspace():
            start += 1
        while end > start and text[end - 1].isspace():
            end -= 1
        if start == end:
            return
        if end - start <= MAX_CHARACTERS:
            yield start, end
            return
        limit = start + MAX_CHARACTERS
        cut = next((at for at in range(limit, start + MAX_CHARACTERS // 2, -1) if text[at].isspace()), limit)
        yield start, start + len(text[start:cut].rstrip())
        start = cut
