"""Who issued a document and where they are: the letterhead's name and the address block under it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from partage.documents.fields.dates import dates_in
from partage.documents.fields.found import Found, Sheet, from_words
from partage.documents.layout import Row
from partage.documents.page import Word

_SURE_FORM = (
    r"\b(?:s[do0]?n\W{0,2}\s?[bd8]h[do0]|[s5]/b|sb(?=\s*(?:\(|$))|bhd|berhad|ltd|limited|inc|incorporated|llc|llp|plt|plc|pty|pte|pvt|"
    r"corp(?:oration)?|gmbh|mbh|ohg|s\.?a\.?r\.?l|s\.?r\.?l|s\.?p\.?a|a/s|aps)\b"
)
# Two letters that are words elsewhere ("kg" weighs, "sa" may be anything) count at the end of a name only.
LEGAL_FORM = re.compile(
    rf"{_SURE_FORM}|(?<=[\w.]\s)(?:ag|kg|e\.\s?k|ug|se|s\.a|b\.?v|n\.?v|oy|ab|k\.k)\.?$", re.IGNORECASE
)
_TRADE = re.compile(
    r"\b(?:enterprise|trading|restaurant|restoran|resto|caf[eé]|bistro|hardware|mart|store|shop|stationery|pharmacy|supermarket|market|"
    r"hypermarket|bakery|clinic|hotel|sons|brothers|bros|company|co|centre|center|industr(?:y|ies)|services?|group|holdings?|kitchen|"
    r"electronics?|motors?|auto|books?|foods?|house|garden|kedai|perniagaan|syarikat|pasaraya|klinik|farmasi|apotheke|bäckerei|"
    r"gaststätte|buchhandlung|handel|werk(?:e|zeuge)?|technik|systeme?)\b",
    re.IGNORECASE,
)
_TITLE = re.compile(
    r"tax\s*inv|invoice|receipt|\b(?:cash (?:sale|bill|memo)|credit note|debit note|adjustment note|delivery (?:note|order)|order|"
    r"rechnung|quittung|bon|beleg|lieferschein|gutschrift|statement|form|r\.?m\.?a|return|rücksend\w*|guest check|duplicate|copy|"
    r"reprint)\b",
    re.IGNORECASE,
)
_REGISTRATION = re.compile(
    r"\(?\s*(?:(?:co|company|business|biz|br|roc)\W{0,3}\s?)?(?:reg(?:istration|n|\.)?\W{0,3}\s?)?(?:n[o0r]|number|id)?\W{0,3}\s?"
    r"\(?\s?\d{4,}\s?-?\s?[A-Z0-9]{0,2}\W*$|\(\s?(?:co\W|roc|reg|[A-Z]{0,3}\d{4,}).*$|\bf\.?k\.?a\b.*$|\bco\W{0,2}\s?(?:reg|no).*$",
    re.IGNORECASE,
)
_REACH = re.compile(
    r"\b(?:tel|telp|telefon|phone|ph|fax|mobile|h/?p|hotline|whats\w*|call|careline|helpline)\b|\btel\W|@|www\.|https?:|\.com\b|e-?mail|"
    r"^t\s?:|^\+?[\d\s()/-]{8,}\W*$|\w*careline",
    re.IGNORECASE,
)
_IDENTITY = re.compile(
    r"\b(?:gst|sst|vat|tax|ust|steuer|tin|abn|ein|reg|registration|roc|co\W?reg|br)\b.{0,20}(?:n[o0]|id|nr|number|#|:|\d{5})|"
    r"\bgst\b|\bco\W{0,2}\s?(?:reg|no)\b|\bust-?id|^\W*(?:[a-z]{0,3}\d{6,}\s?-?\s?[a-z]?|\d{5}\s?-\s?[a-z])\W*$",
    re.IGNORECASE,
)
_NOT_ISSUER = re.compile(r"thank|shopping|bill to|sold to|customer|owned by|formerly|known as|@|www\\.", re.IGNORECASE)
_CHATTER = re.compile(
    r"thank|welcome|shopping|\btq\b|cashier|counter|operator|table|served|owned by|formerly|known as|page \d|\bdate\b|\btime\b|"
    r"customer|bill to|sold to|ship to|attn|qty|item|description|price|amount|\btotal\b|open|hours|danke|willkommen",
    re.IGNORECASE,
)
_STREET = re.compile(
    r"\b(?:jalan|j[l1i]n|lorong|lrg|lebuh\w*|persiaran|psn|taman|tmn|tman|kampung|kg|kawasan|kws|bandar|medan|plaza|wisma|menara|kompleks|b[l1i]ok|"
    r"lot|blk|block|unit|level|floor|flr|suite|bldg|building|tower|mall|street|st|road|rd|avenue|ave|av|boulevard|blvd|lane|ln|drive|"
    r"dr|way|square|sq|highway|hwy|park|court|ct|place|p\.?\s?o\.?\s?box|no|tingkat|seksyen|section|desa|seri|sri|rue|via|calle|weg|"
    r"allee|platz|gasse|ufer|ring|postfach)\b|\b\w{3,}(?:straße|strasse|str\.|weg|allee|platz|gasse|ufer|damm)(?!\w)",
    re.IGNORECASE,
)
_POSTCODE = re.compile(
    r"(?<![\d/-])\d{5}(?![\d/])|\b[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}\b|\b[A-Z]{2} \d{5}\b|\b\d{4} [A-Z]{2}\b|\b\d{6}\b"
)
_HOUSE = re.compile(
    r"(?:(?:no|lot|b[l1i]k|unit|suite|p\.?t)\b|#?\d+[\w-]*,?\s)(?=.*[A-Za-z]{3})|\D{4,}\s\d{1,4}\s?[a-z]?,?$",
    re.IGNORECASE,
)
_TOWN_ONLY = re.compile(r"(?<!\d)\d{5}[ ,]+[^\W\d_]+(?: [^\W\d_]+)*$")
_PRICE = re.compile(r"\b\d+\.\d{2}\s?[A-Z]{0,3}$")
_COLON = re.compile(r"^(?!\W*(?:no|lot)\b).*:", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Line:
    """One piece of a header row, that is: one line of one column."""

    row: Row
    at: int

    @property
    def text(self) -> str:
        return self.row.text

    @property
    def name(self) -> str:
        """Without the registration number that follows a name."""
        return " ".join(word.text for word in _without_registration(self.row))


def company(sheet: Sheet) -> Found | None:
    """The name in the letterhead: 1. a line with a legal form; 2. else the line that looks most like a name."""
    lines = _header(sheet)
    scored = [(score, line) for line in lines if (score := _name_score(line, lines)) > 0]
    if not scored:
        return None
    score, line = max(scored, key=lambda item: (item[0], -item[1].at))
    words = _without_registration(line.row)
    before = next((other for other in lines if other.at == line.at - 1), None)
    legal = LEGAL_FORM.search(line.text)
    if before is not None and legal and _is_rest_of_name(line, before, legal.start()):
        words = (*before.row.words, *words)
    return from_words(
        line.row.page, words, " ".join(word.text for word in words), _legal_forms_mended(_join(words)), min(0.95, score)
    )


def address(sheet: Sheet) -> Found | None:
    """The first run of lines in the letterhead that read like an address, up to telephone, tax number or title."""
    lines = _header(sheet, beyond_title=True)
    name = company(sheet)
    name_at = next((line.at for line in lines if name is not None and _is_at(line, name)), 0)
    runs: list[tuple[float, list[_Line]]] = []
    run: list[_Line] = []
    worth = 0.0
    for line in [*lines, None]:
        score = -9.0 if line is None else _address_score(line, run, name)
        if line is not None and (score > 0 if run else score >= 2):
            run.append(line)
            worth += score
            continue
        if run:
            runs.append((worth, run))
        run, worth = ([line], score) if line is not None and score >= 2 else ([], 0.0)
    if not runs:
        return None
    # Addresses of the buyer look the same; the issuer's stands nearest to the issuer's name.
    worth, run = max(runs, key=lambda item: min(item[0], 6.0) - 0.8 * abs(item[1][0].at - name_at))
    words = tuple(word for line in run for word in line.row.words)
    raw = "\n".join(line.text for line in run)
    return from_words(run[0].row.page, words, raw, " ".join(line.text for line in run), min(0.9, 0.4 + worth / 20))


def _header(sheet: Sheet, *, beyond_title: bool = False) -> list[_Line]:
    """The lines above the document's title, dates and items; at most a third of the page, at least eight rows."""
    lines: list[_Line] = []
    page = sheet.pages[0] if sheet.pages else None
    for at, row in enumerate(sheet.first_page[:30]):
        if page is not None and at > 12 and row.box.top > page.height * 0.45:
            break
        lines.extend(_Line(_without_specks(piece), at) for piece in row.pieces)
    if not beyond_title:
        named = [i for i, line in enumerate(lines) if _looks_like_name(line)]
        title = next(
            (i for i, line in enumerate(lines) if _TITLE.search(line.text) and any(n < i for n in named)), None
        )
        lines = lines[: title if title is not None else 14]
    return lines


def _without_specks(row: Row) -> Row:
    """Stamps and scribbles leave single characters at the end of a line, apart from it."""
    kept = list(row.segments)
    while len(kept) > 1 and len(re.sub(r"\W", "", kept[-1].text)) < 2:
        if kept[-1].box.left - kept[-2].box.right < 0.8 * row.height:
            break
        kept.pop()
    return Row(row.page, tuple(kept))


def _looks_like_name(line: _Line) -> bool:
    text = line.name
    letters = sum(character.isalpha() for character in text)
    digits = sum(character.isdigit() for character in text)
    if letters < 3 or digits > letters or _NOT_ISSUER.search(text):
        return False
    if LEGAL_FORM.search(text):
        return True
    return not (
        _REACH.search(text)
        or _CHATTER.search(text)
        or _TITLE.search(text)
        or _IDENTITY.search(text)
        or re.match(r"\d{4,6}\s", text)
        or any(True for _ in dates_in(text))
    )


def _name_score(line: _Line, lines: list[_Line]) -> float:
    if not _looks_like_name(line):
        return 0.0
    text = line.name
    score = 0.5 - 0.02 * line.at
    if LEGAL_FORM.search(text):
        score += 0.4
    elif _STREET.search(text) and _address_score(line, [], None) >= 2:
        return 0.0
    if _TRADE.search(text):
        score += 0.2
    below = next((other for other in lines if other.at == line.at + 1), None)
    if below is not None and (_IDENTITY.search(below.text) or _address_score(below, [], None) >= 2):
        score += 0.15
    if not any(word.text[:1].isupper() or word.text[:1].isdigit() for word in line.row.words):
        score -= 0.35  # scribbled or stamped remarks are in small letters; names are not
    heights = sorted(other.row.height for other in lines)
    if heights and line.row.height > 1.3 * heights[len(heights) // 2]:
        score += 0.1
    return score


def _is_rest_of_name(line: _Line, before: _Line, legal_at: int) -> bool:
    """Only the legal form, perhaps with one word, stands on this line: the name began above."""
    lead = re.sub(r"\(\w+\)", "", line.text[:legal_at]).split()
    alike = 0.6 < before.row.height / max(1e-6, line.row.height) < 1.7
    return len(lead) == 0 and alike and _looks_like_name(before) and not LEGAL_FORM.search(before.text)


def _without_registration(row: Row) -> tuple[Word, ...]:
    forms = list(LEGAL_FORM.finditer(row.text))
    legal = forms[-1] if forms else None
    from_ = forms[0].end() if forms else len(row.text) // 3
    match = _REGISTRATION.search(row.text, from_)
    words = row.words
    if match is None or match.start() == 0:
        if legal is None:
            return words
        kept = row.words_between(0, legal.end())
        rest = words[len(kept) :]
        return words if any(sum(c.isalpha() for c in word.text) > 1 for word in rest) else kept
    return _cut_last(row.words_between(0, match.start()), row.text[: match.start()])


def _cut_last(words: tuple[Word, ...], text: str) -> tuple[Word, ...]:
    """Where the registration was glued to the name's last word, that word loses it."""
    if not words:
        return words
    end = len(" ".join(word.text for word in words))
    surplus = end - len(text.rstrip())
    last = words[-1]
    if 0 < surplus < len(last.text):
        last = Word(last.text[:-surplus], last.box, last.confidence)
    return (*words[:-1], last)


def _address_score(line: _Line, run: list[_Line], name: Found | None) -> float:
    """How much a line reads like part of an address, given those before it; what ends every address is negative."""
    text = line.text.strip()
    if _ends_address(text) or (name is not None and _is_at(line, name)):
        return -5.0
    score = 1.5 * bool(_STREET.search(text)) + 2.0 * bool(_POSTCODE.search(text)) + 0.5 * (text.count(",") > 1)
    score += 1.0 * bool(_HOUSE.match(text)) + 0.7 * text.endswith(",")
    if _CHATTER.search(text) and (not run or score < 1.5):
        return -1.0
    if not run:
        return score
    previous = run[-1].row
    gap = line.row.box.top - previous.box.bottom
    if line.at - run[-1].at > 2 or gap > 1.5 * previous.height or not _same_column(previous, line.row):
        return -1.0
    if previous.text.endswith(".") and score < 1.5 and not text.endswith(","):
        return -1.0  # a full stop ends the address, unless what follows is plainly more of it
    if previous.text.rstrip().endswith((",", "-", "&")) or re.search(r"\b\d{5}$", previous.text):
        score += 2.0
    elif not (previous.text.rstrip().endswith(".") or _has_postcode(run)):
        score += 0.5
    elif _TOWN_ONLY.search(previous.text) and re.fullmatch(r"[^\W\d_]+(?: [^\W\d_]+){0,2}\.?", text):
        score += 0.5  # after postcode and town, without a comma: the state or the country
    return score


def _ends_address(text: str) -> bool:
    return (
        len(text) < 3
        or any(pattern.search(text) for pattern in (_REACH, _IDENTITY, _PRICE, _COLON))
        or any(True for _ in dates_in(text))
        or (_TITLE.search(text) is not None and not _STREET.search(text))
        or re.search(_SURE_FORM, text, re.IGNORECASE) is not None
        or (text.startswith("(") and text.endswith(")"))
    )


def _has_postcode(run: list[_Line]) -> bool:
    return any(_POSTCODE.search(line.text) for line in run)


def _is_at(line: _Line, name: Found) -> bool:
    return line.row.page == name.page and name.box.top - 1 <= line.row.box.middle_y <= name.box.bottom + 1


def _same_column(above: Row, below: Row) -> bool:
    shared = min(above.box.right, below.box.right) - max(above.box.left, below.box.left)
    return shared > 0.3 * min(above.box.width, below.box.width)


def _legal_forms_mended(name: str) -> str:
    """Put right the one or two letters that recognisers confuse in the words every such name ends with."""
    name = re.sub(r"\bS[O0D]?N(?=\W{0,2}\s?[BD8]H[DO0]\b)", "SDN", name)
    name = re.sub(r"(?<=\bSDN)(\W{0,2}\s?)[BD8]H[DO0]\b", r"\1BHD", name)
    return re.sub(r"\b5/B\b", "S/B", name)


def _join(words: tuple[Word, ...]) -> str:
    return " ".join(word.text for word in words).strip(" ,;:-")
