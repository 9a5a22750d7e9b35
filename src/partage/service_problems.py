"""Errors of the document and RAG services as JSON: {"error": {"type": "NotFound", "message": "...", "status": 404}}."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from partage.errors import InvalidRequest, PartageError
from partage.http_status import retry_after, status_of
from partage.json_value import JsonObject


def problem_of(error: PartageError, **more: str) -> JsonObject:
    return {"type": type(error).__name__, "message": error.message, "status": status_of(error), **more}


def response_of(error: PartageError) -> JSONResponse:
    wait = retry_after(error)
    return answer_of(problem_of(error), {} if wait is None else {"Retry-After": wait})


def answer_of(problem: JsonObject, headers: Mapping[str, str] | None = None) -> JSONResponse:
    status = problem["status"]
    assert isinstance(status, int)
    return JSONResponse({"error": problem}, status, headers)


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
        return answer_of(said, error.headers)


def named_fields(wrong: Iterable[tuple[Sequence[str | int], str]]) -> str:
    """Say which fields are wrong, and how."""
    return "; ".join(f"{'.'.join(map(str, place)) or 'body'}: {message}" for place, message in wrong)
