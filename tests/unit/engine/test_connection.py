from __future__ import annotations

import pytest

from partage.engine.connection import decode, error_of
from partage.engine.remote_connection import RemoteConnection
from partage.errors import ContextTooLong, EngineCrashed, EngineError, InvalidRequest, PartageError, Unsupported


@pytest.mark.parametrize(
    ("status", "body", "expected", "message"),
    [
        (
            400,
            b'{"error":{"code":400,"message":"...","type":"exceed_context_size_error","n_prompt_tokens":31,"n_ctx":16}}',
            ContextTooLong,
            "31 tokens",
        ),
        (400, b'{"error":{"message":"too many","code":"context_length_exceeded"}}', ContextTooLong, "too many"),
        (500, b'{"error":{"message":"input (602 tokens) is too large to process"}}', ContextTooLong, "602"),
        (
            400,
            b'{"error":{"code":400,"message":"Field \'temperature\': must be number"}}',
            InvalidRequest,
            "temperature",
        ),
        (501, b'{"error":{"message":"Infill is missing"}}', Unsupported, "Infill"),
        (500, b'{"error":{"message":"image input is not supported"}}', Unsupported, "image"),
        (400, b'{"error":"\\"all-minilm\\" does not support generate"}', Unsupported, "generate"),
        (404, b'{"error":"model \'x\' not found"}', EngineError, "not found"),
        (401, b'{"error":{"message":"Invalid API Key"}}', EngineError, "refuses the hub's key"),
        (500, b"<html>oops</html>", EngineError, "oops"),
        (502, b"", EngineError, "502"),
        (422, b'{"object":"error","message":"bad field"}', InvalidRequest, "bad field"),
    ],
)
def test_every_server_s_error_becomes_one_of_ours(status: int, body: bytes, expected: type[PartageError], message: str):
    error = error_of(status, body)
    assert type(error) is expected
    assert message in error.message


async def test_a_request_to_a_server_that_has_just_ended_is_told_so_and_may_be_tried_elsewhere():
    connection = RemoteConnection("http://engine", headers={}, idle_timeout_s=1.0)
    await connection.open()
    await connection.close()
    with pytest.raises(EngineCrashed, match="has ended"):
        await connection.get("/health")


def test_answer_that_is_not_json_is_an_engine_error():
    with pytest.raises(EngineError, match="unreadable"):
        decode(b"<html>", dict)
