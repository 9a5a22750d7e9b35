"""The RAG service over real sockets, a user of it, and a fake hub that embeds words by their hashes."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import re
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from partage.rag.app import create_app
from partage.rag.settings import RagSettings


@dataclass
class FakeHub:
    """Embeds by hashed words; chats what it is told to. Counts what it was asked."""

    dimensions: int = 128
    models: list[dict[str, Any]] = field(
        default_factory=lambda: [
            {"name": "all-minilm:22m", "capabilities": ["embedding"], "details": {"parameter_size": "23M"}},
            {"name": "smollm2:135m", "capabilities": ["completion"], "details": {"parameter_size": "135M"}},
        ]
    )
    says: str = "You have 30 days."
    chat_status: int = 200
    embed_hangs: asyncio.Event | None = None
    embed_reached: asyncio.Event = field(default_factory=asyncio.Event)
    batches: list[int] = field(default_factory=list[int])
    chats: list[Any] = field(default_factory=list[Any])
    chats_left: int = 0

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/api/tags", self.tags),
                Route("/api/embed", self.embed, methods=["POST"]),
                Route("/api/chat", self.chat, methods=["POST"]),
            ]
        )

    async def tags(self, _: Request) -> Response:
        return JSONResponse({"models": self.models})

    async def embed(self, request: Request) -> Response:
        inputs = (await request.json())["input"]
        self.batches.append(len(inputs))
        self.embed_reached.set()
        if self.embed_hangs is not None:
            await self.embed_hangs.wait()
        return JSONResponse({"embeddings": [self.vector(text) for text in inputs]})

    def vector(self, text: str) -> list[float]:
        vector = [0.01] * self.dimensions
        for word in re.findall(r"\w+", text.lower()):
            vector[int.from_bytes(hashlib.sha256(word.encode()).digest()[:4]) % self.dimensions] += 1
        return vector

    async def chat(self, request: Request) -> Response:
        self.chats.append(await request.json())
        if self.chat_status != 200:
            return JSONResponse({"error": "the model server did not start"}, self.chat_status)

        async def lines() -> AsyncGenerator[bytes]:
            try:
                for word in self.says.split(" "):
                    yield json.dumps({"message": {"content": word + " "}, "done": False}).encode() + b"\n"
                if self.says == "...":
                    await asyncio.Event().wait()
                yield b'{"message":{"content":""},"done":true,"done_reason":"stop"}\n'
            finally:
                self.chats_left += 1

        return StreamingResponse(lines(), media_type="application/x-ndjson")


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncGenerator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none", timeout_graceful_shutdown=1))
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(server.serve(sockets=[listener]))
            while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn offers no event
                await asyncio.sleep(0.01)
            try:
                yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            finally:
                server.should_exit = True


@dataclass
class Rag:
    """A user of the service."""

    url: str
    session: aiohttp.ClientSession

    async def ask(self, method: str, path: str, **arguments: Any) -> tuple[int, Any]:  # noqa: ANN401 - aiohttp's own
        async with self.session.request(method, self.url + path, **arguments) as reply:
            return reply.status, (json.loads(await reply.read() or b"null"))

    async def add(self, name: str, text: str) -> tuple[int, Any]:
        return await self.ask("POST", "/documents", json={"name": name, "text": text})

    async def upload(self, name: str, content: bytes) -> tuple[int, Any]:
        form = aiohttp.FormData()
        form.add_field("file", io.BytesIO(content), filename=name)
        return await self.ask("POST", "/documents", data=form)

    async def names_found(self, query: str, **body: object) -> list[str]:
        status, answer = await self.ask("POST", "/search", json={"query": query, **body})
        assert status == 200, answer
        return [hit["document"] for hit in answer["hits"]]


@asynccontextmanager
async def rag_over(settings: RagSettings) -> AsyncGenerator[Rag]:
    async with served(create_app(settings)) as url, aiohttp.ClientSession() as session:
        yield Rag(url, session)
