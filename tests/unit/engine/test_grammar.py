from __future__ import annotations

import json

import pytest

from partage.engine.grammar import ANY_OBJECT, closed, compact_grammar
from partage.json_value import JsonObject

PLAIN: list[JsonObject] = [
    ANY_OBJECT,
    {},
    {"type": ["string", "null"], "title": "Name", "default": None},
    {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False},
    {"type": "array", "items": {"enum": ["a", 1, None]}, "minItems": 0, "maxItems": 10},
    {"anyOf": [{"const": "x"}, {"type": "number", "minimum": -1.5, "maximum": 2}]},
    {"$defs": {"P": {"type": "string"}}, "properties": {"p": {"$ref": "#/$defs/P"}}, "required": ["p"]},
]

NOT_PLAIN: list[JsonObject] = [
    {"type": "no such type"},
    {"type": []},
    {"type": "string", "pattern": "(?<=a)b"},
    {"type": "string", "format": "uri"},
    {"oneOf": [{"type": "integer"}]},
    {"not": {"type": "integer"}},
    {"type": "array", "uniqueItems": True},
    {"$ref": "#/$defs/missing"},
    {"$ref": "other.json#/$defs/P", "$defs": {"P": {}}},
    {"type": "object", "required": ["a"], "additionalProperties": False},
    {"type": "string", "minLength": 5, "maxLength": 3},
    {"type": "string", "maxLength": 10**9},
    {"type": "string", "maxLength": "ten"},
    {"enum": []},
    {"anyOf": []},
    {"properties": {"deep": {"items": {"type": "no such type"}}}},
]


@pytest.mark.parametrize("schema", PLAIN, ids=str)
def test_plain_schema_gets_fixed_separators(schema: JsonObject):
    grammar = compact_grammar(schema)
    assert grammar is not None
    head, _, text = grammar.partition("%json ")
    assert head == "%llguidance {}\nstart: "
    assert json.loads(text).pop("x-guidance")["whitespace_flexible"] is False


@pytest.mark.parametrize("schema", NOT_PLAIN, ids=str)
def test_schema_that_might_not_compile_is_left_to_llama_cpp(schema: JsonObject):
    assert compact_grammar(schema) is None


def test_endlessly_nested_schema_is_not_followed():
    schema: JsonObject = {}
    for _ in range(100_000):
        schema = {"items": schema}
    assert compact_grammar(schema) is None


def test_object_that_names_its_properties_gets_no_others():
    point: JsonObject = {"properties": {"x": {"type": "integer"}}}
    schema: JsonObject = {
        "$defs": {"P": point},
        "properties": {"many": {"items": point}, "one": {"anyOf": [point, {}]}},
    }
    shut: JsonObject = {**point, "additionalProperties": False}
    assert closed(schema) == {
        "$defs": {"P": shut},
        "properties": {"many": {"items": shut}, "one": {"anyOf": [shut, {}]}},
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"x": {}}, "additionalProperties": {"type": "integer"}},
        {"type": "object"},
        {"allOf": [{"properties": {"x": {}}}, {"properties": {"y": {}}}]},
        {"$defs": {"P": {"properties": {"x": {}}}}, "items": {"allOf": [{"$ref": "#/$defs/P"}, {"required": ["y"]}]}},
        {"properties": {"x": {}}, "anyOf": [{"properties": {"y": {}}}, {"properties": {"z": {}}}]},
        {"enum": [{"properties": {"x": 1}}]},
    ],
    ids=str,
)
def test_schema_that_says_more_stays_as_it_is(schema: JsonObject):
    assert closed(schema) == schema
