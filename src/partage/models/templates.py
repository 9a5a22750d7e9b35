"""Chat templates: Ollama's Go templates, those without a loop, as Jinja (docs/decisions/015-chat-templates.md).

Ollama runs such a template once per turn with .System, .Prompt and .Response, and cuts the last turn off at .Response.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_ACTION = re.compile(r"\{\{(?P<left>- )?\s*(?P<words>.*?)\s*(?P<right> -)?\}\}", re.DOTALL)
_FIELDS = {"System": "turn.system", "Prompt": "turn.prompt", "Response": "turn.response", "First": "turn.first"}
_RESPONSE = ".Response"
_LONGEST = 64 << 10


class _Untranslatable(Exception):
    """The template does what the translation does not know."""


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


def _translated(template: str) -> str:
    if len(template) > _LONGEST:
        raise _Untranslatable
    whole = list(_statements(template))
    try:
        response = next(index for index, (depth, text) in enumerate(whole) if text == _RESPONSE and depth == 0)
    except StopIteration:
        if any(text == _RESPONSE for _, text in whole):
            raise _Untranslatable from None
        response = len(whole)
        whole.append((0, _RESPONSE))
    said = "{{- turn.response -}}"
    turn = "".join(said if text == _RESPONSE else text for _, text in whole)
    opening = "".join(text for _, text in whole[:response])
    reset = "{%- set turn.system = '' -%}{%- set turn.prompt = '' -%}{%- set turn.first = false -%}"
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


def _statements(template: str) -> Iterator[tuple[int, str]]:
    """Depth and Jinja of each piece; .Response stays as it is."""
    depth, position, trims = 0, 0, False
    for action in [*_ACTION.finditer(template), None]:
        text = template[position : action.start() if action else len(template)]
        text = text.lstrip() if trims else text
        text = text.rstrip() if action and action["left"] else text
        if text:
            yield depth, _literal(text)
        if action is None:
            break
        position, trims = action.end(), bool(action["right"])
        words = action["words"]
        if words.startswith("if "):
            yield depth, f"{{%- if {_condition(words[3:])} -%}}"
            depth += 1
        elif words.startswith("else if "):
            yield depth, f"{{%- elif {_condition(words[8:])} -%}}"
        elif words == "else":
            yield depth, "{%- else -%}"
        elif words == "end":
            depth -= 1
            yield depth, "{%- endif -%}"
        elif words == _RESPONSE:
            yield depth, _RESPONSE
        elif not words.startswith("/*"):
            yield depth, f"{{{{- {_field(words)} -}}}}"
    if depth != 0:
        raise _Untranslatable


def _condition(words: str) -> str:
    operator, *operands = words.split()
    if operator in {"and", "or"} and len(operands) > 1:
        return f" {operator} ".join(map(_field, operands))
    if operator == "not" and len(operands) == 1:
        return f"not {_field(operands[0])}"
    if operands:
        raise _Untranslatable
    return _field(operator)


def _field(word: str) -> str:
    name = word.removeprefix("$").removeprefix(".")
    if name not in _FIELDS or not word.endswith(f".{name}"):
        raise _Untranslatable
    return _FIELDS[name]


def _literal(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    return f"{{{{- '{escaped}' -}}}}"
