"""Chat templates: Ollama's Go templates, those without a loop, as Jinja (docs/decisions/015-chat-templates.md).

Ollama runs such a template once per turn with .System, .Prompt and .Response, and cuts the last turn off at .Response.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from partage.errors import InvalidRequest

_FIELDS = {"System": "turn.system", "Prompt": "turn.prompt", "Response": "turn.response", "First": "turn.first"}
_RESPONSE = "Response"
_LONGEST = 64 << 10
_DEEPEST = 100
"""Conditions in one another."""
_MOST_PIECES, _MOST_CHARACTERS = 1 << 20, 16 << 20
"""Of all turns, when a prompt is laid out here: the hub answers nobody meanwhile."""


class _Untranslatable(Exception):
    """The template does what the translation does not know."""


@dataclass(frozen=True, slots=True)
class _Condition:
    operator: Literal["", "and", "or", "not"]
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Action:
    """What stands between two braces and two braces."""

    start: int
    end: int
    words: str
    trims_left: bool
    trims_right: bool


@dataclass(frozen=True, slots=True)
class _Piece:
    kind: Literal["text", "field", "if", "else if", "else", "end"]
    text: str = ""
    """Of a text, or the name of a field."""
    condition: _Condition = _Condition("", ())
    """Of an if or an else if; that of an else always holds."""


_ANSWER = _Piece("field", _RESPONSE)
"""Where the answer goes."""


def engine_template(template: str, own: str) -> str:
    """What the engine is to use for a model that came with a template: empty for the file's own, which goes first."""
    return "" if own or not template else jinja_of(template) or ""


def jinja_of(template: str) -> str | None:
    """The template as Jinja; None where it cannot be said in it."""
    if "{%" in template or not re.search(r"\{\{-?\s*(\.[A-Z]|if |range |with |\$|/\*)", template):
        return template
    try:
        return _translated(template)
    except _Untranslatable:
        return None


def laid_out(template: str, messages: Sequence[tuple[str, str]]) -> str | None:
    """Roles and contents as a prompt, up to where the answer begins; None where the template does more than is known here.

    Raises InvalidRequest where that would be a prompt beyond any context.
    """
    try:
        whole = _pieces(template)
    except _Untranslatable:
        return None
    if len(whole) * (len(messages) + 1) > _MOST_PIECES:
        raise InvalidRequest("template: too long for so many messages")
    turn = {"System": "", "Response": "", "First": "yes"}
    prompts: list[str] = []
    parts: list[str] = []
    for role, content in messages:
        match role:
            case "system":
                turn["System"] = content
            case "assistant":
                parts += _filled(whole, {**turn, "Prompt": "\n\n".join(prompts), _RESPONSE: content})
                turn = dict.fromkeys(turn, "")
                prompts = []
            case _ if prompts or content:
                prompts.append(content)
            case _:
                pass
    parts += _filled(_up_to_answer(whole), {**turn, "Prompt": "\n\n".join(prompts)})
    if sum(map(len, parts)) > _MOST_CHARACTERS:
        raise InvalidRequest(
            f"template: the prompt is longer than {_MOST_CHARACTERS >> 20} Mi characters when it is filled in"
        )
    return "".join(parts)


def _up_to_answer(pieces: list[_Piece]) -> list[_Piece]:
    """What is said before the answer; the conditions that it stands in are closed."""
    before = pieces[: pieces.index(_ANSWER)]
    kinds = [piece.kind for piece in before]
    return before + [_Piece("end")] * (kinds.count("if") - kinds.count("end"))


def _filled(pieces: Iterable[_Piece], turn: Mapping[str, str]) -> Iterator[str]:
    branches: list[bool | None] = []
    """For every condition around: whether this branch is said. None: no other of its branches will be."""
    for piece in pieces:
        match piece.kind:
            case "if":
                branches.append(_holds(piece.condition, turn) if all(branches) else None)
            case "else if" | "else":
                done = branches[-1] is not False
                branches[-1] = None if done else _holds(piece.condition, turn)
            case "end":
                branches.pop()
            case "text" if all(branches):
                yield piece.text
            case "field" if all(branches):
                yield turn[piece.text]
            case _:
                pass


def _holds(condition: _Condition, turn: Mapping[str, str]) -> bool:
    given = [bool(turn[name]) for name in condition.fields]
    match condition.operator:
        case "or":
            return any(given)
        case "not":
            return not given[0]
        case "" | "and":
            return all(given)


def _translated(template: str) -> str:
    whole = _pieces(template)
    opening = "".join(map(_in_jinja, _up_to_answer(whole)))
    turn = "".join(map(_in_jinja, whole))
    reset = "".join(f"{{%- set turn.{name} = '' -%}}" for name in ("system", "prompt", "response", "first"))
    return (
        "{%- set turn = namespace(system='', prompt='', response='', first=true) -%}"
        "{%- for message in messages -%}"
        "{%- if message.role == 'system' -%}{%- set turn.system = message.content -%}"
        "{%- elif message.role == 'assistant' -%}{%- set turn.response = message.content -%}"
        f"{turn}{reset}"
        "{%- elif turn.prompt -%}{%- set turn.prompt = turn.prompt + '\\n\\n' + message.content -%}"
        "{%- else -%}{%- set turn.prompt = message.content -%}{%- endif -%}"
        "{%- endfor -%}"
        f"{{%- if add_generation_prompt -%}}{opening}{{%- endif -%}}"
    )


def _in_jinja(piece: _Piece) -> str:
    match piece.kind:
        case "text":
            escaped = piece.text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
            return f"{{{{- '{escaped}' -}}}}"
        case "field":
            return f"{{{{- {_FIELDS[piece.text]} -}}}}"
        case "if":
            return f"{{%- if {_condition_in_jinja(piece.condition)} -%}}"
        case "else if":
            return f"{{%- elif {_condition_in_jinja(piece.condition)} -%}}"
        case "else":
            return "{%- else -%}"
        case "end":
            return "{%- endif -%}"


def _condition_in_jinja(condition: _Condition) -> str:
    fields = [_FIELDS[name] for name in condition.fields]
    return f"not {fields[0]}" if condition.operator == "not" else f" {condition.operator} ".join(fields)


def _pieces(template: str) -> list[_Piece]:
    """The template in pieces; where the answer goes is one of them. Raises _Untranslatable."""
    if len(template) > _LONGEST:
        raise _Untranslatable
    pieces: list[_Piece] = []
    depth, position, trims = 0, 0, False
    for action in [*_actions(template), None]:
        text = template[position : action.start if action else len(template)]
        text = text.lstrip() if trims else text
        text = text.rstrip() if action and action.trims_left else text
        if text:
            pieces.append(_Piece("text", text))
        if action is None:
            break
        position, trims = action.end, action.trims_right
        if action.words.startswith("/*"):
            continue
        piece = _piece(action.words)
        pieces.append(piece)
        depth += {"if": 1, "end": -1}.get(piece.kind, 0)
        branches = piece.kind in {"else", "else if"}
        if not branches <= depth <= _DEEPEST:
            raise _Untranslatable
    if depth != 0:
        raise _Untranslatable
    return pieces if _ANSWER in pieces else [*pieces, _ANSWER]


def _actions(template: str) -> Iterator[_Action]:
    """Found from left to right, each character looked at once: the template is a client's. Raises _Untranslatable."""
    end = 0
    while (start := template.find("{{", end)) >= 0:
        close = template.find("}}", start + 2)
        if close < 0:
            raise _Untranslatable
        end = close + 2
        words = template[start + 2 : close]
        left = words[:1] == "-" and words[1:2].isspace()
        right = words[-1:] == "-" and words[-2:-1].isspace()
        words = words[1:] if left else words
        yield _Action(start, end, (words[:-1] if right else words).strip(), left, right)


def _piece(words: str) -> _Piece:
    if words.startswith("if "):
        return _Piece("if", condition=_condition(words[3:]))
    if words.startswith("else if "):
        return _Piece("else if", condition=_condition(words[8:]))
    if words == "else":
        return _Piece("else")
    if words == "end":
        return _Piece("end")
    return _Piece("field", _field(words))


def _condition(words: str) -> _Condition:
    operator, *operands = words.split()
    if operator in {"and", "or"} and len(operands) > 1:
        return _Condition("and" if operator == "and" else "or", tuple(map(_field, operands)))
    if operator == "not" and len(operands) == 1:
        return _Condition("not", (_field(operands[0]),))
    if operands:
        raise _Untranslatable
    return _Condition("", (_field(operator),))


def _field(word: str) -> str:
    name = word.removeprefix("$").removeprefix(".")
    if name not in _FIELDS or not word.endswith(f".{name}"):
        raise _Untranslatable
    return name
