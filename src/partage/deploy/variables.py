"""Variables: `environment:` of a service, the lines of a .env file, ENV of a Dockerfile; and `${...}` filled in from them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from partage.deploy.source import Place, Source
from partage.deploy.yaml_tree import Mapping as MappingNode
from partage.deploy.yaml_tree import Node, Scalar, items_of

UNKNOWN = "\ufffd"
"""Stands where a value depends on an environment that a linter cannot see; no rule's pattern matches it."""

_REFERENCE = re.compile(
    r"\$(?:(?P<escaped>\$)|(?P<bare>[A-Za-z_]\w*)|\{(?P<name>[A-Za-z_]\w*)(?:(?P<how>:?[-?+])|(?=\})))"
)
_DOTENV = re.compile(r"^\s*(?:export\s+)?(?P<name>[A-Za-z_][\w.]*)\s*=[ \t]*(?P<value>\"[^\"]*\"|'[^']*'|[^\n]*)")


@dataclass(frozen=True, slots=True)
class Variable:
    name: str
    value: str
    """With `${...}` filled in; UNKNOWN where it comes from elsewhere."""
    place: Place
    """The whole entry."""
    value_place: Place

    @property
    def known(self) -> bool:
        return UNKNOWN not in self.value


MAX_NESTED_DEFAULTS = 8
"""`${A:-${B:-c}}` is two deep; what goes deeper is left as it stands, for each level costs the length of the text."""


def interpolate(text: str, values: Mapping[str, str], depth: int = 0) -> str:
    """As Compose does: `$NAME`, `${NAME}`, `${NAME:-default}`, `$$`; what is not in `values` becomes UNKNOWN."""
    if "$" not in text or depth > MAX_NESTED_DEFAULTS:
        return text
    out: list[str] = []
    position = 0
    while match := _REFERENCE.search(text, position):
        out.append(text[position : match.start()])
        position = match.end()
        name = match["bare"] or match["name"]
        if match["escaped"]:
            out.append("$")
            continue
        if match["name"] and not match["how"]:
            position += 1  # the closing brace
        argument = ""
        if match["how"]:
            end = _closing(text, position)
            argument, position = text[position:end], end + 1
        out.append(_filled(name, match["how"] or "", argument, values, depth))
    out.append(text[position:])
    return "".join(out)


def _filled(name: str, how: str, argument: str, values: Mapping[str, str], depth: int) -> str:
    value = values.get(name)
    if "+" in how:
        return UNKNOWN if value is None else interpolate(argument, values, depth + 1)
    if value:
        return value
    if how == ":-" or (how == "-" and value is None):
        return interpolate(argument, values, depth + 1)
    return UNKNOWN if value is None else value


def _closing(text: str, position: int) -> int:
    depth = 1
    for index in range(position, len(text)):
        if text.startswith("${", index):
            depth += 1
        elif text[index] == "}":
            depth -= 1
            if depth == 0:
                return index
    return len(text)


def variables_of(node: Node | None, values: Mapping[str, str]) -> tuple[Variable, ...]:
    """`environment:` in either syntax."""
    if isinstance(node, MappingNode):
        return tuple(
            Variable(
                name,
                interpolate(entry.value.text, values) if isinstance(entry.value, Scalar) else UNKNOWN,
                entry.key.place,
                entry.value.place,
            )
            for name, entry in node.entries.items()
        )
    return tuple(_listed(item, values) for item in items_of(node) if isinstance(item, Scalar))


def _listed(item: Scalar, values: Mapping[str, str]) -> Variable:
    name, separator, value = item.text.partition("=")
    filled = interpolate(value, values) if separator else values.get(name, UNKNOWN)
    place = item.place
    offset = place.text.find("=") + 1
    quote = 0 if item.plain else 1
    start = place.start + offset if offset else place.end
    return Variable(
        name.strip(), filled, place, Place(place.source, place.line, place.column + offset, start, place.end - quote)
    )


def read_dotenv(source: Source) -> tuple[Variable, ...]:
    """The assignments of a .env file, later ones able to use earlier ones."""
    found: list[Variable] = []
    values: dict[str, str] = {}
    for number, line in enumerate(source.lines, 1):
        match = _DOTENV.match(line.rstrip("\r"))
        if match is None:
            continue
        raw, offset = match["value"], match.start("value")
        if raw[:1] in "\"'" and len(raw) > 1:
            value, offset = raw[1:-1], offset + 1
        else:
            value = raw if raw[:1] == "#" else re.split(r"\s#", raw, maxsplit=1)[0].rstrip()
            value = "" if value.startswith("#") else value
        filled = value if raw.startswith("'") else interpolate(value, values)
        values[match["name"]] = filled
        place = source.place(number, match.start("name") + 1, offset + len(value) - match.start("name"))
        found.append(Variable(match["name"], filled, place, source.place(number, offset + 1, len(value))))
    return tuple(found)
