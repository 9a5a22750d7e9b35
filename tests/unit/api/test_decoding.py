from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from partage.api.decoding import decode
from partage.api.ollama_wire import ChatIn
from partage.api.openai_wire import ChatIn as OpenAIChatIn
from partage.errors import InvalidRequest

OLLAMA = msgspec.json.Decoder(ChatIn)
OPENAI = msgspec.json.Decoder(OpenAIChatIn)


@pytest.mark.parametrize(
    ("body", "message", "field"),
    [
        (b"", "missing request body: send a JSON object", None),
        (b"  \n", "missing request body: send a JSON object", None),
        (b"{", "the body is not valid JSON: Input data was truncated", None),
        (b"hello", "the body is not valid JSON: JSON is malformed: invalid character (byte 0)", None),
        (b"[]", "the body: expected object, got array", None),
        (b'{"model":1}', "model: expected string, got integer", "model"),
        (b'{"messages":[{"role":3}]}', "messages[0].role: expected string, got integer", "messages[0].role"),
        (b'{"messages":[{}]}', "messages[0].role is required", "messages[0].role"),
        (b'{"stream":"yes"}', "stream: expected boolean or null, got string", "stream"),
        (
            b'{"messages":[{"role":"user","images":["%"]}]}',
            "messages[0].images[0]: Invalid base64 encoded string",
            "messages[0].images[0]",
        ),
        (b'{"format":' + b'{"a":' * 100_000, "the body is nested too deeply", None),
    ],
)
def test_what_is_wrong_is_said_with_its_place(body: bytes, message: str, field: str | None):
    with pytest.raises(InvalidRequest) as raised:
        decode(OLLAMA, body)
    assert (raised.value.message, raised.value.field) == (message, field)


def test_text_that_is_not_utf8_is_no_json():
    with pytest.raises(InvalidRequest, match="not valid JSON"):
        decode(OLLAMA, b'{"model":"\xff"}')


def test_a_missing_field_is_named():
    with pytest.raises(InvalidRequest, match="model is required"):
        decode(OPENAI, b"{}")


@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail_otherwise(body: bytes):
    with contextlib.suppress(InvalidRequest):
        decode(OPENAI, body)
