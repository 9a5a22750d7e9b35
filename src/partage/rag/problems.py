"""Errors of the RAG service as JSON: {"error": {"type": "NotFound", "message": "...", "status": 404}}."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from partage import errors
from partage.domain import JsonObject
from partage.errors import InvalidRequest, PartageError, Refused

STATUS: Mapping[type[PartageError], int] = {
    errors.RequestError: 400,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.ModelNotFound: 404,
    errors.NotFound: 404,
    errors.IndexMismatch: 409,
    errors.TooLarge: 413,
    errors.UnsupportedDocument: 415,
    errors.DocumentError: 422,
    errors.QuotaExceeded: 429,
    errors.EngineError: 502,
    errors.Refused: 503,
    errors.EngineStartFailed: 503,
    errors.ServiceUnreachable: 503,
    errors.EngineTimedOut: 504,
    errors.CannotFit: 507,
    errors.PartageError: 500,
}


def status_of(error: PartageError) -> int:
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def body_of(error: PartageError) -> JsonObject:
    return {"error": {"type": type(error).__name__, "message": error.message, "status": status_of(error)}}


def response_of(error: PartageError) -> JSONResponse:
    retry_s = error.retry_after_s if isinstance(error, Refused) else None
    headers = {} if retry_s is None else {"Retry-After": str(max(1, math.ceil(retry_s)))}
    return JSONResponse(body_of(error), status_of(error), headers)


def answer_errors_in_one_shape(app: FastAPI) -> None:
    @app.exception_handler(PartageError)
    async def ours(_: Request, error: PartageError) -> JSONResponse:
        return response_of(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        wrong = named_fields((one["loc"][1:], one["msg"]) for one in error.errors())  # loc[0] is "body" or "path"
        return response_of(InvalidRequest(wrong))

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        kinds: Mapping[int, str] = {404: "NotFound", 405: "MethodNotAllowed"}
        kind = kinds.get(error.status_code, "InvalidRequest")
        said: JsonObject = {"type": kind, "message": str(error.detail), "status": error.status_code}
        return JSONResponse({"error": said}, error.status_code, error.headers)


def named_fields(wrong: Iterable[tuple[Sequence[str | int], str]]) -> str:
    """Say which fields are wrong, and how."""
    return "; ".join(f"{'.'.join(map(str, place)) or 'body'}: {message}" for place, message in wrong)
