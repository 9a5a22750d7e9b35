from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias, TypeVar

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from partage.client.services import Documents, Rag, Service, service_session
from partage.errors import DocumentUnreadable, EngineError, ServiceUnreachable

pytestmark = pytest.mark.live

S = TypeVar("S", bound=Service)
Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(method: str, path: str, handler: Handler) -> AsyncGenerator[str]:
    app = web.Application()
    app.router.add_route(method, path, handler)
    async with TestServer(app) as server:
        yield str(server.make_url("/"))


@asynccontextmanager
async def calling(kind: type[S], url: str, key: str | None = None) -> AsyncGenerator[S]:
    async with service_session(key, timeout_s=5) as session:
        yield kind(session, "RAG" if kind is Rag else "document", url)


async def test_file_is_sent_with_its_name_its_kind_and_the_schema():
    async def process(request: web.Request) -> web.Response:
        form = await request.post()
        file = form["file"]
        assert isinstance(file, web.FileField)
        assert (file.filename, file.content_type, form["schema"]) == ("01-form.pdf", "application/pdf", "rma")
        page = {"number": 1, "text": "RMA-1", "method": "text_layer", "seconds": 0.1, "more": True}
        found = {"value": "RMA-1", "page": 1, "box": [0, 0, 1, 1], "confidence": 0.9}
        return web.json_response({"pages": [page], "fields": {"rma_number": found}})

    async with serving("POST", "/process", process) as url, calling(Documents, url) as service:
        processed = await service.process("01-form.pdf", b"%PDF-1.4", "rma")
    assert processed.pages[0].method == "text_layer"
    field = processed.fields["rma_number"]
    assert field is not None
    assert (field.value, field.page, field.confidence) == ("RMA-1", 1, 0.9)


async def test_error_of_the_service_keeps_its_meaning_and_its_words():
    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({"error": "the PDF is encrypted"}, status=422)

    async with serving("POST", "/process", refuse) as url, calling(Documents, url) as service:
        with pytest.raises(DocumentUnreadable, match="the PDF is encrypted"):
            await service.process("01-form.pdf", b"%PDF-1.4", "rma")


async def test_answer_that_is_no_json_is_named():
    async def babble(_: web.Request) -> web.Response:
        return web.Response(text="<html>")

    async with serving("POST", "/process", babble) as url, calling(Documents, url) as service:
        with pytest.raises(EngineError, match=r"the document service at http.*is not understood"):
            await service.process("01-form.pdf", b"%PDF-1.4", "rma")


async def test_service_that_is_not_there_is_named():
    async with calling(Rag, "http://127.0.0.1:9") as service:
        with pytest.raises(ServiceUnreachable, match=r"the RAG service at http://127\.0\.0\.1:9 does not answer"):
            await service.ask("Anyone there?")


async def test_pages_are_told_apart_by_form_feeds_and_the_key_is_sent():
    async def take(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer secret"
        assert await request.json() == {"name": "11-claim", "text": "one\ftwo"}
        return web.json_response({}, status=201)

    async with serving("POST", "/documents", take) as url, calling(Rag, url, "secret") as service:
        await service.add_pages("11-claim", ["one", "two"])


async def test_answer_comes_with_its_citations():
    async def answer(request: web.Request) -> web.Response:
        assert await request.json() == {"question": "How high?"}
        cited = {"number": 1, "document": "policy.md", "page": 2, "span": [0, 10], "text": "15 percent", "score": 1}
        return web.json_response({"answer": "15 percent [1]", "citations": [cited], "supported": True})

    async with serving("POST", "/query", answer) as url, calling(Rag, url) as service:
        answered = await service.ask("How high?")
    assert answered.answer == "15 percent [1]"
    assert [(cited.document, cited.page, cited.text) for cited in answered.citations] == [
        ("policy.md", 2, "15 percent")
    ]


async def test_only_documents_of_the_given_names_are_removed():
    removed: list[str] = []

    async def documents(request: web.Request) -> web.Response:
        if request.method == "GET":
            return web.json_response({"documents": [{"id": "a1", "name": "ours"}, {"id": "b2", "name": "theirs"}]})
        removed.append(request.path)
        return web.Response(status=204)

    async with (
        serving("*", "/documents{rest:.*}", documents) as url,
        calling(Rag, url) as service,
    ):
        await service.remove({"ours"})
    assert removed == ["/documents/a1"]
