from __future__ import annotations

import pytest

from partage.documents.schemas import BUILT_IN, schema_of
from partage.errors import InvalidRequest


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("passport", "there is no schema 'passport'"),
        ("{", "not JSON"),
        ('{"type": "objct"}', "not a JSON Schema"),
        ('{"type": "object"}', "at least one property"),
        ('{"type": "array"}', "at least one property"),
        ('{"properties": {"a": {"type": 5}}}', "properties/a/type"),
    ],
)
def test_a_bad_schema_is_refused_with_what_is_wrong(text: str, says: str):
    with pytest.raises(InvalidRequest, match=says):
        schema_of(text)


def test_the_built_in_schemas_are_json_schemas_a_model_can_be_held_to():
    for schema in BUILT_IN.values():
        properties = schema.json_schema["properties"]
        assert isinstance(properties, dict)
        assert list(properties) == [spec.name for spec in schema.fields]
