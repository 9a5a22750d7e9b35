"""What the RAG service itself costs: taking in 200 pages, searching and answering, with a hub that answers at once.

python -m bench rag_latency

The fake hub's own time is shown beside it. Then the store alone, at 50,000 chunks.
"""

from __future__ import annotations

import asyncio
import random
import socket
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from partage.rag.app import create_app
from partage.rag.chunk import Chunk
from partage.rag.settings import RagSettings
from partage.rag.store import Document, Store

PAGES = 200
PAGE_CHARACTERS = 2200
QUESTIONS = 60
DIMENSIONS = 384
MANY = 50_000

random_words = random.Random(7)  # the same corpus in every run
VOCABULARY = [
    "".join(random_words.choices("abcdefghijklmnopqrstuvwxyz", k=random_words.randint(3, 10))) for _ in range(5000)
]


def sentence() -> str:
    return " ".join(random_words.choices(VOCABULARY, k=12)).capitalize() + "."


def page() -> str:
    sentences: list[str] = []
    while sum(map(len, sentences)) < PAGE_CHARACTERS:
        sentences.append(sentence())
    return " ".join(sentences)


class FakeHub:
    """Vectors that mean nothing, at once; and a tiny chat model that says one sentence."""

    def __init__(self) -> None:
        self.embed_s = 0.0
        self.random = np.random.default_rng(7)

    def app(self) -> Starlette:
        paths = {"/api/tags": (self.tags, "GET"), "/api/embed": (self.embed, "POST"), "/api/chat": (self.chat, "POST")}
        return Starlette(routes=[Route(path, call, methods=[method]) for path, (call, method) in paths.items()])

    async def tags(self, _: Request) -> Response:
        tiny = {"name": "tiny", "capabilities": ["completion"], "details": {"parameter_size": "135M"}}
        return JSONResponse({"models": [tiny]})

    async def embed(self, request: Request) -> Response:
        began_s = time.perf_counter()
        inputs = (await request.json())["input"]
        answer = JSONResponse({"embeddings": self.random.random((len(inputs), DIMENSIONS)).round(6).tolist()})
        self.embed_s += time.perf_counter() - began_s
        return answer

    async def chat(self, _: Request) -> Response:
        return Response(b'{"message":{"content":"So it is."},"done":true}\n')


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncGenerator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.serve(sockets=[listener]))
            while not server.started:  # noqa: ASYNC110 - uvicorn offers no event
                await asyncio.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            server.should_exit = True


async def milliseconds(times: int, call: Callable[[], Awaitable[object]]) -> str:
    taken: list[float] = []
    for _ in range(times):
        began_s = time.perf_counter()
        await call()
        taken.append((time.perf_counter() - began_s) * 1000)
    return f"{statistics.median(taken):7.1f} ms median, {statistics.quantiles(taken, n=20)[-1]:7.1f} ms p95"


async def service(directory: Path) -> None:
    hub = FakeHub()
    async with served(hub.app()) as hub_url:
        app = create_app(RagSettings(data_dir=directory, hub_url=hub_url))
        async with served(app) as url, aiohttp.ClientSession(url) as session:

            async def post(path: str, **body: object) -> None:
                async with session.post(path, json=body) as reply:
                    assert reply.status in {200, 201}, await reply.text()
                    await reply.read()

            began_s = time.perf_counter()
            await post("/documents", name="book", text="\f".join(page() for _ in range(PAGES)))
            took_s = time.perf_counter() - began_s
            print(f"ingest of {PAGES} pages   {took_s:6.2f} s, of it in the fake hub {hub.embed_s:.2f} s")
            print("search               ", await milliseconds(QUESTIONS, lambda: post("/search", query=sentence())))
            print("query with a tiny model", await milliseconds(QUESTIONS, lambda: post("/query", question=sentence())))


async def store_alone(directory: Path) -> None:
    numbers = np.random.default_rng(7)
    store = await Store.open(directory)
    per_document = 10_000
    for start in range(0, MANY, per_document):
        name = f"document {start}"
        chunks = [Chunk(1, 0, 0, sentence(), "") for _ in range(per_document)]
        document = Document(
            id=name, name=name, media_type="", content_hash="", added_at="", page_count=1, chunk_count=per_document
        )
        vectors = numbers.random((per_document, DIMENSIONS), dtype=np.float32).tolist()
        await store.put(document, [""], chunks, vectors, "model")
    print(
        f"{MANY:,} chunks, nearest",
        await milliseconds(20, lambda: store.nearest(numbers.random(DIMENSIONS).tolist(), 20)),
    )
    print(f"{MANY:,} chunks, words  ", await milliseconds(20, lambda: store.with_words(sentence(), 20)))
    print("list of documents      ", await milliseconds(20, store.documents))
    store.close()


def main() -> None:
    for part in (service, store_alone):
        with tempfile.TemporaryDirectory() as directory:
            asyncio.run(part(Path(directory)))


if __name__ == "__main__":
    main()
