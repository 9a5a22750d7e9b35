"""Errors on the wire: how each dialect writes them. Their status: http_status.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from partage import errors
from partage.errors import InvalidRequest, PartageError
from partage.http_status import retry_after, status_of
from partage.json_value import JsonObject

Headers: TypeAlias = list[tuple[bytes, bytes]]

JSON = b"application/json"


def headers_of(error: PartageError) -> Headers:
    wait = retry_after(error)
    if wait is not None:
        return [(b"retry-after", wait.encode())]
    match error:
        case errors.Unauthorized():
            return [(b"www-authenticate", b"Bearer")]
        case errors.MethodNotAllowed():
            return [(b"allow", ", ".join(error.allowed).encode())]
        case _:
            return []


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one family of clients wants to read an error, before the first byte and after it."""

    name: str
    json: bytes
    """The content type of its JSON, to the letter: some clients compare it."""
    body: Callable[[PartageError], bytes]
    frame: Callable[[PartageError], bytes]


def _ollama_body(error: PartageError) -> bytes:
    return msgspec.json.encode({"error": error.message})


def _openai_body(error: PartageError) -> bytes:
    field = error.field if isinstance(error, InvalidRequest) else None
    problem: JsonObject = {"message": error.message, "type": _openai_type(error), "param": field, "code": _code(error)}
    return msgspec.json.encode({"error": problem})


def _anthropic_body(error: PartageError) -> bytes:
    match status_of(error):
        case 413:
            type_ = "request_too_large"
        case 503:
            type_ = "overloaded_error"
        case _:
            type_ = _openai_type(error)
    problem: JsonObject = {"type": type_, "message": error.message}
    return msgspec.json.encode({"type": "error", "error": problem})


def _openai_type(error: PartageError) -> str:
    match status_of(error):
        case 401:
            return "authentication_error"
        case 403:
            return "permission_error"
        case 404:
            return "not_found_error"
        case 429:
            return "rate_limit_error"
        case status if status < 500:
            return "invalid_request_error"
        case _:
            return "api_error"


def _code(error: PartageError) -> str | None:
    """The codes that OpenAI's clients look for; None elsewhere, as OpenAI does."""
    match error:
        case errors.ModelNotFound():
            return "model_not_found"
        case errors.ContextTooLong():
            return "context_length_exceeded"
        case errors.Unauthorized():
            return "invalid_api_key"
        case errors.QuotaExceeded():
            return "rate_limit_exceeded"
        case errors.QueueFull():
            return "server_busy"
        case _:
            return None


OLLAMA = Dialect("ollama", b"application/json; charset=utf-8", _ollama_body, lambda error: _ollama_body(error) + b"\n")
OPENAI = Dialect("openai", JSON, _openai_body, lambda error: b"data: " + _openai_body(error) + b"\n\n")
ANTHROPIC = Dialect(
    "anthropic", JSON, _anthropic_body, lambda error: b"event: error\ndata: " + _anthropic_body(error) + b"\n\n"
)


def _response_frame(error: PartageError) -> bytes:
    """Both as the API has it, and with the `error` that OpenAI's own clients raise for."""
    field = error.field if isinstance(error, InvalidRequest) else None
    problem: JsonObject = {"message": error.message, "type": _openai_type(error), "param": field, "code": _code(error)}
    event: JsonObject = {**problem, "type": "error", "error": problem}
    return b"event: error\ndata: " + msgspec.json.encode(event) + b"\n\n"


RESPONSES = Dialect("responses", JSON, _openai_body, _response_frame)


def dialect_of(path: str) -> Dialect:
    if path == "/v1/responses":
        return RESPONSES
    if path.startswith("/v1/messages"):
        return ANTHROPIC
    return OPENAI if path.startswith("/v1/") else OLLAMA
