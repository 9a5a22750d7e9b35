"""One HTTP request and its response, as the handlers see them: thin over ASGI, because every token passes here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import msgspec
from starlette.types import Receive, Scope, Send

from partage.api.problems import JSON, Headers
from partage.api.unpacking import unpacked
from partage.domain import Client, RequestId
from partage.errors import PartageError, TooLarge, Unsupported


class ClientLeft(Exception):
    """The client closed the connection."""


class Exchange:
    __slots__ = (
        "_body_limit_bytes",
        "_json",
        "client",
        "id",
        "receive",
        "scope",
        "send",
        "started",
        "writes",
        "writing",
    )

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        id_: RequestId,
        body_limit_bytes: int,
        json: bytes = JSON,
    ) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.id = id_
        self.client = Client(name="nobody")
        self.started = False
        """The status has been sent; from now on an error can only be written into the body."""
        self.writes = 0
        self.writing = False
        self._body_limit_bytes = body_limit_bytes
        self._json = json

    def header(self, name: bytes) -> str | None:
        for key, value in self.scope["headers"]:
            if key == name:
                return value.decode("latin-1")
        return None

    @property
    def api_key(self) -> str | None:
        authorization = self.header(b"authorization")
        if authorization is not None and authorization[:7].lower() == "bearer ":
            return authorization[7:].strip()
        return self.header(b"x-api-key")

    @property
    def address(self) -> str:
        peer = self.scope.get("client")
        return peer[0] if peer else ""

    def path_parameter(self, name: str) -> str:
        return self.scope["path_params"][name]

    async def read_body(self) -> bytes:
        """The body, counted while it comes in, and unpacked. Raises TooLarge, InvalidRequest, Unsupported, ClientLeft."""
        body = await self._read()
        if (encoding := self._encoding) is not None:
            body = await asyncio.to_thread(unpacked, body, encoding, self._body_limit_bytes)
        return body

    async def _read(self) -> bytes:
        announced = self.header(b"content-length")
        if announced is not None and announced.isdecimal() and int(announced) > self._body_limit_bytes:
            raise self._too_large()
        chunks = bytearray()
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientLeft
            chunk = message.get("body", b"")
            if not message.get("more_body", False):
                return bytes(chunks + chunk) if chunks else chunk
            chunks += chunk
            if len(chunks) > self._body_limit_bytes:
                raise self._too_large()

    async def body_chunks(self) -> AsyncGenerator[bytes]:
        """The body as it comes, without a limit: for what goes to the disk. Raises Unsupported, ClientLeft."""
        if self._encoding is not None:
            raise Unsupported("content-encoding: send the file as it is; its digest is that of these bytes")
        more = True
        while more:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientLeft
            more = message.get("more_body", False)
            yield message.get("body", b"")

    @property
    def _encoding(self) -> str | None:
        encoding = self.header(b"content-encoding")
        return None if encoding in {None, "", "identity"} else encoding

    def _too_large(self) -> PartageError:
        return TooLarge(f"the body is larger than the {self._body_limit_bytes / 2**20:.0f} MiB this server takes")

    async def start(self, content_type: bytes, headers: Headers | None = None, status: int = 200) -> None:
        self.started = True
        lines = [(b"content-type", content_type), (b"x-request-id", self.id.encode())]
        await self.send({"type": "http.response.start", "status": status, "headers": lines + (headers or [])})

    async def write(self, chunk: bytes) -> None:
        self.writes += 1
        self.writing = True
        await self.send({"type": "http.response.body", "body": chunk, "more_body": True})
        self.writing = False

    async def finish(self, chunk: bytes = b"") -> None:
        await self.send({"type": "http.response.body", "body": chunk, "more_body": False})

    async def answer(
        self, body: bytes, *, status: int = 200, content_type: bytes = b"", headers: Headers | None = None
    ) -> None:
        length = (b"content-length", b"%d" % len(body))
        await self.start(content_type or self._json, [length, *(headers or [])], status)
        await self.finish(body)

    async def answer_json(self, value: object) -> None:
        await self.answer(msgspec.json.encode(value))
