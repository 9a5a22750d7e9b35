"""What is wrong with a configuration file, in the words of the file: where it stands, and what would be right."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast, get_args, get_origin, get_type_hints

import msgspec
from ruamel.yaml import YAML, YAMLError

from partage.errors import ConfigError

Place: TypeAlias = tuple[str | int, ...]
"""Keys and indices from the top of the file: ("models", "llama3.2", "slots")."""

_WRONG = re.compile(r"(?P<what>.*?)(?: - at `\$(?P<path>.*)`)?\Z", re.DOTALL)
_EXPECTED = re.compile(r"Expected `(?P<types>[^`]*)`(?: (?P<bound>[<>]=? \S+))?(?:, got `(?P<got>\w+)`)?\Z")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_WORDS = {
    "int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text",
    "array": "a list", "object": "a mapping of keys to values",
}  # fmt: skip
_UNITS = {"_bytes": "a size such as 6GiB", "_s": "a duration such as 10m", "_share": "a share such as 90%"}
_BOUNDS = {">=": "at least", ">": "more than", "<=": "at most", "<": "less than"}


class WrongSetting(ConfigError):
    """A setting of the file is wrong."""

    def __init__(self, place: Place, words: str) -> None:
        self.place = place
        super().__init__(f"{dotted(place)}: {words}" if place else words)


def dotted(place: Place) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
    return text.removeprefix(".")


def check_keys(entry: Mapping[str, object], kind: type[msgspec.Struct], place: Place) -> None:
    """Raises WrongSetting for a key that the section does not have."""
    known = [field.encode_name for field in msgspec.structs.fields(kind)]
    for key in entry:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            instead = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise WrongSetting((*place, key), f"there is no such setting; {instead}")


def told(error: msgspec.ValidationError, kind: type[msgspec.Struct], entry: object, place: Place) -> WrongSetting:
    """What msgspec says of an entry of the file, as an error for who wrote it."""
    found = _WRONG.match(str(error))
    assert found is not None
    steps = _STEP.findall(found["path"] or "")
    inside: Place = tuple(int(index) if index.isdecimal() else name or 0 for name, index in steps)
    field = next((one for one in msgspec.structs.fields(kind) if inside and one.encode_name == inside[0]), None)
    value = cast("dict[str, object]", entry).get(str(inside[0])) if inside and isinstance(entry, dict) else entry
    if (missing := re.search(r"missing required field `(\w+)`", found["what"])) is not None:
        return WrongSetting((*place, *inside), f"{missing[1]} is missing")
    if found["what"].startswith("Invalid enum value") and field is not None:
        choices = ", ".join(_choices(get_type_hints(kind)[field.name]))
        return WrongSetting((*place, *inside), f"{value!r} is none of {choices}")
    if (expected := _EXPECTED.match(found["what"])) is None:
        return WrongSetting((*place, *inside), found["what"])
    needed = _needed(expected["types"], expected["bound"], field.name if field is not None else "")
    shown = {"array": "a list", "object": "a mapping", "null": "nothing"}.get(expected["got"] or "", repr(value))
    return WrongSetting((*place, *inside), f"{needed} is needed, not {shown}")


def _needed(types: str, bound: str | None, field: str) -> str:
    unit = next((words for suffix, words in _UNITS.items() if field.endswith(suffix)), None)
    names = [name for name in types.split(" | ") if name != "null"]
    needed = unit or " or ".join(_WORDS.get(name, name) for name in names)
    if bound is None:
        return needed
    sign, number = bound.split(" ")
    limit = f"{float(number):.0%}" if field.endswith("_share") else number.removesuffix(".0")
    return f"{needed}, {_BOUNDS[sign]} {limit},"


def _choices(hint: Any) -> list[str]:  # noqa: ANN401 any type there is
    if get_origin(hint) is Literal:
        return [str(choice) for choice in get_args(hint)]
    return [choice for inner in get_args(hint) for choice in _choices(inner)]


def line_of(file: Path, place: Place) -> int | None:
    """The line of the deepest part of the place that the file has. Read once more: with places, and only for this."""
    try:
        node: Any = YAML(typ="rt", pure=True).load(file)
    except (OSError, YAMLError, UnicodeDecodeError):
        return None
    line: int | None = None
    for step in place:
        try:
            line = (node.lc.item(step) if isinstance(step, int) else node.lc.key(step))[0] + 1
            node = node[step]
        except (AttributeError, LookupError, TypeError):
            break
    return line
