"""Errors of the document service as JSON: {"error": {"type": "DocumentUnreadable", "message": "...", "status": 422}}."""

from __future__ import annotations

import math
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from partage import errors
from partage.domain import JsonObject
from partage.errors import PartageError, Refused

STATUS: Mapping[type[PartageError], int] = {
    errors.RequestError: 400,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.ModelNotFound: 404,
    errors.NotFound: 404,
    errors.TooLarge: 413,
    errors.UnsupportedDocument: 415,
    errors.DocumentError: 422,
    errors.QuotaExceeded: 429,
    errors.EngineError: 502,
    errors.Refused: 503,
    errors.ServiceUnreachable: 503,
    errors.EngineTimedOut: 504,
    errors.CannotFit: 507,
    errors.DiskFull: 507,
    errors.PartageError: 500,
}


def status_of(error: PartageError) -> int:
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def problem_of(error: PartageError, **more: str) -> JsonObject:
    return {"type": type(error).__name__, "message": error.message, "status": status_of(error), **more}


def response_of(problem: JsonObject, headers: Mapping[str, str] | None = None) -> JSONResponse:
    status = problem["status"]
    assert isinstance(status, int)
    return JSONResponse({"error": problem}, status, headers)


def answer_errors_in_one_shape(app: FastAPI) -> None:
    @app.exception_handler(PartageError)
    async def ours(_: Request, error: PartageError) -> JSONResponse:
        retry = {"Retry-After": str(max(1, math.ceil(error.retry_after_s)))} if isinstance(error, Refused) else None
        return response_of(problem_of(error), retry)

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        kind = {404: "NotFound", 405: "MethodNotAllowed"}.get(error.status_code, "InvalidRequest")
        problem: JsonObject = {"type": kind, "message": str(error.detail), "status": error.status_code}
        return response_of(problem, error.headers)
