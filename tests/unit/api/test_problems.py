"""The JSON of every error, in each dialect."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec
import pytest

from partage import errors
from partage.api.problems import ANTHROPIC, OLLAMA, OPENAI, dialect_of, headers_of
from partage.errors import PartageError
from partage.http_status import STATUS, status_of

# error, status, OpenAI's type, OpenAI's code
PINNED: list[tuple[PartageError, int, str, str | None]] = [
    (errors.InvalidRequest(), 400, "invalid_request_error", None),
    (errors.Unauthorized(), 401, "authentication_error", "invalid_api_key"),
    (errors.Forbidden(), 403, "permission_error", None),
    (errors.ModelNotFound("x"), 404, "not_found_error", "model_not_found"),
    (errors.NotFound(), 404, "not_found_error", None),
    (errors.MethodNotAllowed(), 405, "invalid_request_error", None),
    (errors.TooLarge(), 413, "invalid_request_error", None),
    (errors.ContextTooLong(), 400, "invalid_request_error", "context_length_exceeded"),
    (errors.Unsupported(), 400, "invalid_request_error", None),
    (errors.QueueFull(), 503, "api_error", "server_busy"),
    (errors.QuotaExceeded(), 429, "rate_limit_error", "rate_limit_exceeded"),
    (errors.DeadlinePassed(), 503, "api_error", None),
    (errors.ShuttingDown(), 503, "api_error", None),
    (errors.CannotFit(), 507, "api_error", None),
    (errors.EngineError(), 502, "api_error", None),
    (errors.EngineStartFailed(), 503, "api_error", None),
    (errors.EngineOutOfMemory(), 503, "api_error", None),
    (errors.EngineTimedOut(), 504, "api_error", None),
    (errors.EngineCrashed(), 502, "api_error", None),
    (errors.DocumentError(), 422, "invalid_request_error", None),
    (errors.UnsupportedDocument(), 415, "invalid_request_error", None),
    (errors.DocumentUnreadable(), 422, "invalid_request_error", None),
    (errors.ModelFileError(), 422, "invalid_request_error", None),
    (errors.PullError(), 502, "api_error", None),
    (errors.DigestMismatch(), 502, "api_error", None),
    (errors.DiskFull(), 507, "api_error", None),
    (errors.StoreError(), 500, "api_error", None),
    (errors.ServiceUnreachable(), 503, "api_error", None),
    (errors.HubUnreachable(), 503, "api_error", None),
    (errors.IndexMismatch(), 409, "invalid_request_error", None),
    (errors.PartageError(), 500, "api_error", None),
]


@pytest.mark.parametrize(("error", "status", "type_", "code"), PINNED, ids=lambda value: type(value).__name__)
def test_the_json_of_every_error(error: PartageError, status: int, type_: str, code: str | None):
    problem = {"message": error.message, "type": type_, "param": None, "code": code}
    assert status_of(error) == status
    assert msgspec.json.decode(OLLAMA.body(error)) == {"error": error.message}
    assert msgspec.json.decode(OPENAI.body(error)) == {"error": problem}
    other = {413: "request_too_large", 503: "overloaded_error"}.get(status, type_)
    assert msgspec.json.decode(ANTHROPIC.body(error)) == {
        "type": "error",
        "error": {"type": other, "message": error.message},
    }
    assert ANTHROPIC.frame(error) == b"event: error\ndata: " + ANTHROPIC.body(error) + b"\n\n"
    assert OLLAMA.frame(error) == OLLAMA.body(error) + b"\n"
    assert OPENAI.frame(error) == b"data: " + OPENAI.body(error) + b"\n\n"


def test_the_statuses_are_those_that_the_tree_of_errors_promises():
    promised = re.findall(r"── (\w+) .*?(\d{3})$", errors.__doc__ or "", flags=re.MULTILINE)
    assert len(promised) > 20
    kinds = {kind.__name__: kind for kind in _tree(PartageError)}
    assert {name: _status_of(kinds[name]) for name, _ in promised} == {name: int(status) for name, status in promised}


def _status_of(kind: type[PartageError]) -> int:
    return next(STATUS[one] for one in kind.__mro__ if one in STATUS)


def _tree(kind: type[PartageError]) -> Iterator[type[PartageError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _tree(child)


def test_a_refusal_says_when_to_come_back():
    assert headers_of(errors.QueueFull(retry_after_s=2.3)) == [(b"retry-after", b"3")]
    assert headers_of(errors.QuotaExceeded(retry_after_s=0.0)) == [(b"retry-after", b"1")]
    assert headers_of(errors.EngineCrashed()) == []


def test_openai_is_told_the_field():
    body = msgspec.json.decode(OPENAI.body(errors.InvalidRequest("wrong", field="messages[0].role")))
    assert body["error"]["param"] == "messages[0].role"


def test_the_path_decides_the_dialect():
    assert dialect_of("/v1/models") is OPENAI
    assert dialect_of("/v1/messages") is ANTHROPIC
    assert dialect_of("/api/chat") is OLLAMA
    assert dialect_of("/nowhere") is OLLAMA
