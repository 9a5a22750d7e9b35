"""Constrained output for llama.cpp: a JSON Schema as a grammar with fixed separators, where that is known to work.

A weak model that may choose its whitespace can lose itself in it until its tokens run out. LLGuidance, which xllamacpp is
built with, can fix the separators, but a grammar that it cannot compile is silently ignored: the answer is then not
constrained at all. So only schemas made of the parts below go that way; the others go as `response_format`, which
llama.cpp checks itself and refuses by name.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from partage.json_value import JsonObject, JsonValue

ANY_OBJECT: JsonObject = {"type": "object"}

_TYPES = frozenset({"object", "array", "string", "integer", "number", "boolean", "null"})
_NOTES = frozenset({"title", "description", "default", "examples", "$schema", "$id", "$comment", "deprecated"})
_BOUNDS = (("minLength", "maxLength"), ("minItems", "maxItems"), ("minimum", "maximum"))
_LARGEST_COUNT = 10_000
_DEEPEST = 32
_COMBINERS = frozenset({"anyOf", "oneOf", "$ref", "if", "not", "patternProperties", "dependentSchemas"})
"""Beside these, `properties` is not all that an object may have."""


def closed(schema: JsonObject) -> JsonObject:
    """The schema, allowing no properties but those it names wherever it leaves that open; as Ollama reads it.

    By the letter of JSON Schema a model might then add any it likes, and small models do. A schema that combines parts by
    allOf stays as it is: closed parts would exclude each other.
    """
    return schema if b'"allOf"' in msgspec.json.encode(schema) else _close(schema, 0)


def _close(schema: JsonObject, depth: int) -> JsonObject:
    combined = schema.keys() & _COMBINERS
    if depth > _DEEPEST or ("properties" in schema and combined):
        return schema
    whole = {key: _close_part(key, value, depth + 1) for key, value in schema.items()}
    if "properties" in schema:
        whole.setdefault("additionalProperties", False)
    return whole


def _close_part(key: str, value: JsonValue, depth: int) -> JsonValue:
    match key, value:
        case (("properties" | "$defs" | "definitions"), dict()):
            return {name: _close(part, depth) if isinstance(part, dict) else part for name, part in value.items()}
        case (("anyOf" | "oneOf"), list()):
            return [_close(part, depth) if isinstance(part, dict) else part for part in value]
        case (("items" | "additionalProperties"), dict()):
            return _close(value, depth)
        case _:
            return value


def compact_grammar(schema: JsonObject) -> str | None:
    """Write the schema in LLGuidance's language; None where it may not compile."""
    if not _is_plain(schema, schema, 0):
        return None
    separators: JsonObject = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
    text = msgspec.json.encode({**schema, "x-guidance": separators}).decode()
    return f"%llguidance {{}}\nstart: %json {text}"


def _is_plain(schema: JsonValue, root: JsonObject, depth: int) -> bool:
    if isinstance(schema, bool):
        return True
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return False
    return _bounds_agree(schema) and all(
        _part_is_plain(key, value, schema, root, depth) for key, value in schema.items()
    )


def _part_is_plain(key: str, value: JsonValue, schema: JsonObject, root: JsonObject, depth: int) -> bool:
    def plain(part: JsonValue) -> bool:
        return _is_plain(part, root, depth + 1)

    match key, value:
        case "type", str():
            known = value in _TYPES
        case "type", list():
            known = bool(value) and all(one in _TYPES for one in value)
        case (("properties" | "$defs" | "definitions"), dict()):
            known = all(plain(part) for part in value.values())
        case "required", list():
            properties = schema.get("properties")
            known = isinstance(properties, dict) and all(name in properties for name in value)
        case (("items" | "additionalProperties"), _):
            known = plain(value)
        case "anyOf", list():
            known = bool(value) and all(plain(part) for part in value)
        case "enum", list():
            known = bool(value)
        case "$ref", str():
            known = _has(root, value)
        case _:
            known = key == "const" or key in _NOTES or any(key in pair for pair in _BOUNDS)
    return known


def _bounds_agree(schema: Mapping[str, JsonValue]) -> bool:
    for least_name, most_name in _BOUNDS:
        least, most = schema.get(least_name, 0), schema.get(most_name)
        counts = least_name != "minimum"
        for bound in (least, most):
            if bound is None:
                continue
            if isinstance(bound, bool) or not isinstance(bound, int if counts else int | float):
                return False
            if counts and not 0 <= bound <= _LARGEST_COUNT:
                return False
        if least_name in schema and isinstance(least, int | float) and isinstance(most, int | float) and least > most:
            return False
    return True


def _has(root: JsonObject, reference: str) -> bool:
    """A reference to a named definition of the same document, the only kind that is followed here."""
    match reference.split("/"):
        case ["#", ("$defs" | "definitions") as place, name]:
            definitions = root.get(place)
            return isinstance(definitions, dict) and name in definitions
        case _:
            return False
