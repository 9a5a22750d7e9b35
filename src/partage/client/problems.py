"""Turns what the hub answered with (an HTTP status and an error text) back into the error it meant."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from partage.errors import (
    CannotFit,
    DocumentUnreadable,
    EngineCrashed,
    EngineError,
    EngineStartFailed,
    EngineTimedOut,
    Forbidden,
    InvalidRequest,
    ModelNotFound,
    NotFound,
    PartageError,
    QueueFull,
    QuotaExceeded,
    TooLarge,
    Unauthorized,
    UnsupportedDocument,
)

BY_STATUS: Mapping[int, type[PartageError]] = {
    400: InvalidRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    413: TooLarge,
    415: UnsupportedDocument,
    422: DocumentUnreadable,
    502: EngineCrashed,
    503: EngineStartFailed,
    504: EngineTimedOut,
    507: CannotFit,
}


def error_of(status: int, headers: Mapping[str, str], body: bytes, *, model: str | None = None) -> PartageError:
    """`model`: the one the request named; a 404 is then about the model."""
    message = message_of(body) or f"the hub answered with HTTP status {status}"
    if status == 404 and model is not None:
        return ModelNotFound(model, message=message if model in message else None)
    if status == 429:
        return QuotaExceeded(message, retry_after_s=retry_after_s(headers) or 1.0)
    if status == 503 and (wait_s := retry_after_s(headers)) is not None:
        # Only a refusal says when to come back; a model server that does not start says no such thing.
        return QueueFull(message, retry_after_s=wait_s)
    fallback = EngineError if status >= 500 else InvalidRequest
    return BY_STATUS.get(status, fallback)(message)


def message_of(body: bytes) -> str:
    """Read the text of {"error": "..."} (Ollama), {"error": {"message": "..."}} (OpenAI), or the body itself."""
    try:
        said = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return body.decode(errors="replace").strip()[:500]
    error = said.get("error") if isinstance(said, dict) else None
    if isinstance(error, dict):
        error = error.get("message")
    return error if isinstance(error, str) else ""


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Read the seconds of Retry-After; its other form, a date, counts as absent (no hub sends it)."""
    try:
        return max(0.0, float(headers["Retry-After"]))
    except (KeyError, ValueError):
        return None
