"""Reads what is sent to the RAG service: a document as JSON or as a file, and never more than the limit."""

from __future__ import annotations

from pathlib import PurePath

from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from partage.errors import InvalidRequest, TooLarge
from partage.rag.wire import TextDocument
from partage.service_problems import named_fields, response_of

DOCUMENT_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": TextDocument.model_json_schema()},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            },
        },
    }
}


async def document_of(request: Request) -> tuple[str, bytes | str]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        async with request.form(max_files=1) as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                raise InvalidRequest("file: send the document as a file in the field `file`")
            return name_of(file.filename or ""), await file.read()
    if kind in {"application/json", ""}:
        try:
            document = TextDocument.model_validate_json(await request.body())
        except ValidationError as error:
            raise InvalidRequest(named_fields((one["loc"], one["msg"]) for one in error.errors())) from error
        return name_of(document.name), document.text
    raise InvalidRequest(f"content type {kind} is not read here: send JSON {{name, text}}, or a multipart `file`")


def name_of(given: str) -> str:
    """Keep the last part of a path, as browsers and clients may send the whole."""
    name = PurePath(given.replace("\\", "/")).name.strip()
    if not name or not name.isprintable():
        raise InvalidRequest("name: a document needs a printable name", field="name")
    return name[:500]


class BodyLimit:
    """Refuses a body that is over the limit: before it is read where its length is known, else as it passes it."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        error = TooLarge(f"the body is larger than the {self._max_bytes:,} bytes this service takes")
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._max_bytes:
            await response_of(error)(scope, receive, send)
            return
        seen_bytes = 0

        async def counted() -> Message:
            nonlocal seen_bytes
            message = await receive()
            seen_bytes += len(message.get("body", b""))
            if seen_bytes > self._max_bytes:
                raise error
            return message

        await self._app(scope, counted, send)
