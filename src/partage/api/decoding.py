"""JSON bodies into wire types, with errors that name the field: "messages[0].role: expected string, got integer"."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

from partage.errors import InvalidRequest

T = TypeVar("T")

_MISMATCH = re.compile(r"Expected `(?P<wanted>[^`]+)`, got `(?P<got>[^`]+)`(?: - at `\$\.?(?P<path>.*)`)?$")
_MISSING = re.compile(r"Object missing required field `(?P<name>[^`]+)`(?: - at `\$\.?(?P<path>.*)`)?$")
_OTHER = re.compile(r"(?P<problem>.*) - at `\$\.?(?P<path>.*)`$")
_JSON_NAMES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "bytes": "base64 string"}


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Raises InvalidRequest."""
    if not body.strip():
        raise InvalidRequest("missing request body: send a JSON object")
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _explained(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}") from None
    except RecursionError:
        raise InvalidRequest("the body is nested too deeply") from None


def _explained(problem: str) -> InvalidRequest:
    if found := _MISMATCH.match(problem):
        field = found["path"] or None
        return InvalidRequest(
            f"{field or 'the body'}: expected {_in_json_words(found['wanted'])}, got {_in_json_words(found['got'])}",
            field=field,
        )
    if found := _MISSING.match(problem):
        field = f"{found['path']}.{found['name']}" if found["path"] else found["name"]
        return InvalidRequest(f"{field} is required", field=field)
    if found := _OTHER.match(problem):
        return InvalidRequest(f"{found['path']}: {found['problem']}", field=found["path"])
    return InvalidRequest(problem)


def _in_json_words(types: str) -> str:
    return " or ".join(_JSON_NAMES.get(name, name) for name in types.split(" | "))
