from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from rag_service import FakeHub, Rag, rag_over, served
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from partage.rag.settings import RagSettings

pytestmark = pytest.mark.live

POLICY = """# Returns policy

## Time limits

Goods may be sent back within 30 days of delivery. The parcel must carry the RMA number on its outside.

## Refunds

A refund is paid within 14 days after the parcel arrived. Shipping costs are refunded only for faulty goods.
"""
GERMAN = "Die Garantie beträgt 24 Monate ab Kauf. Für Rücksendungen der Ware gilt eine Frist von 14 Tagen."


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub()


@pytest.fixture
async def settings(hub: FakeHub, tmp_path: Path) -> AsyncGenerator[RagSettings]:
    async with served(hub.app()) as url:
        yield RagSettings(data_dir=tmp_path / "rag", hub_url=url, documents_url="http://127.0.0.1:1")


@pytest.fixture
async def rag(settings: RagSettings) -> AsyncGenerator[Rag]:
    async with rag_over(settings) as rag:
        yield rag


async def test_document_is_found_at_once_and_its_spans_are_exact(rag: Rag):
    status, answer = await rag.add("policy.md", POLICY)
    assert status == 201
    assert (answer["created"], answer["document"]["media_type"]) == (True, "text/markdown")
    _, listed = await rag.ask("GET", "/documents")
    assert [document["name"] for document in listed["documents"]] == ["policy.md"]
    _, detail = await rag.ask("GET", f"/documents/{answer['document']['id']}")
    _, found = await rag.ask("POST", "/search", json={"query": "refund for faulty goods"})
    hit = found["hits"][0]
    start, end = hit["span"]
    assert detail["pages"][hit["page"] - 1]["text"][start:end] == hit["text"]
    assert "faulty" in hit["text"]


async def test_documents_added_after_the_index_was_tidied_are_found_by_word_and_by_meaning(rag: Rag):
    for number in range(25):
        status, _ = await rag.add(f"note {number}.txt", f"The widget called zorblax{number} is blue.")
        assert status == 201
    for number in (0, 19, 24):
        assert (await rag.names_found(f"zorblax{number}", limit=1)) == [f"note {number}.txt"]


async def test_german_words_are_found_in_other_forms(rag: Rag):
    await rag.add("garantie.txt", GERMAN)
    await rag.add("policy.md", POLICY)
    assert (await rag.names_found("Welche Frist gilt für eine Rücksendung?", limit=1)) == ["garantie.txt"]
    assert (await rag.names_found("Waren", limit=1)) == ["garantie.txt"]


async def test_same_content_again_changes_nothing_and_other_content_replaces(rag: Rag, hub: FakeHub):
    _, first = await rag.add("policy.md", POLICY)
    embedded = len(hub.batches)
    status, again = await rag.add("policy.md", POLICY)
    assert (status, again["created"], again["document"]) == (200, False, first["document"])
    assert len(hub.batches) == embedded
    status, _ = await rag.add("policy.md", "Goods may be sent back within 90 days. Ask for quibbleflux.")
    assert status == 201
    _, listed = await rag.ask("GET", "/documents")
    assert len(listed["documents"]) == 1
    _, found = await rag.ask("POST", "/search", json={"query": "faulty goods refund"})
    assert all("faulty" not in hit["text"] for hit in found["hits"])


async def test_filters_narrow_the_search_and_are_no_way_into_the_database(rag: Rag):
    await rag.add("it's.txt", "Apples are red.")
    await rag.add("b.md", "Apples are green.")
    assert await rag.names_found("apples", filters={"documents": ["it's.txt"]}) == ["it's.txt"]
    assert await rag.names_found("apples", filters={"media_types": ["text/markdown"]}) == ["b.md"]
    assert await rag.names_found("apples", filters={"documents": ["' OR 1=1 --"]}) == []


async def test_deleted_document_is_gone_from_everywhere(rag: Rag):
    _, answer = await rag.add("policy.md", POLICY)
    path = f"/documents/{answer['document']['id']}"
    assert (await rag.ask("DELETE", path))[0] == 204
    assert await rag.names_found("refund for faulty goods") == []
    for method in ("GET", "DELETE"):
        status, problem = await rag.ask(method, path)
        assert (status, problem["error"]["type"]) == (404, "NotFound")


async def test_tiny_model_speaks_after_the_passages_it_is_quoted_from(rag: Rag):
    _, answer = await rag.add("policy.md", POLICY)
    _, detail = await rag.ask("GET", f"/documents/{answer['document']['id']}")
    status, said = await rag.ask("POST", "/query", json={"question": "Within how many days may goods be sent back?"})
    assert status == 200
    assert said["answer"].startswith("Goods may be sent back within 30 days of delivery. [1]")
    assert said["answer"].endswith("You have 30 days.")
    assert (said["supported"], said["degraded"], said["model"]) == (True, False, "smollm2:135m")
    for citation in said["citations"]:
        start, end = citation["span"]
        assert detail["pages"][citation["page"] - 1]["text"][start:end] == citation["text"]


async def test_number_that_a_tiny_model_invents_is_not_passed_on(rag: Rag, hub: FakeHub):
    hub.says = "You have 45 days."
    await rag.add("policy.md", POLICY)
    _, said = await rag.ask("POST", "/query", json={"question": "Within how many days may goods be sent back?"})
    assert "30 days" in said["answer"]
    assert "45" not in said["answer"]


async def test_capable_model_answers_alone_and_only_real_citations_stay(rag: Rag, hub: FakeHub):
    hub.models.append({"name": "big:8b", "capabilities": ["completion"], "details": {"parameter_size": "8.0B"}})
    hub.says = "Within 30 days [1] of delivery [7]."
    await rag.add("policy.md", POLICY)
    _, said = await rag.ask("POST", "/query", json={"question": "Within how many days may goods be sent back?"})
    assert (said["answer"], said["model"]) == ("Within 30 days [1] of delivery.", "big:8b")
    assert [citation["number"] for citation in said["citations"]] == [1]


async def test_answer_streams_and_ends_with_the_checked_whole(rag: Rag):
    await rag.add("policy.md", POLICY)
    body = {"question": "Within how many days may goods be sent back?", "stream": True}
    async with rag.session.post(f"{rag.url}/query", json=body) as reply:
        lines = [json.loads(line) async for line in reply.content]
    assert "".join(line["text"] for line in lines[:-1]) == lines[-1]["answer"]
    assert lines[-1]["citations"]


async def test_passages_still_answer_while_the_chat_model_is_away(rag: Rag, hub: FakeHub):
    await rag.add("policy.md", POLICY)
    hub.chat_status = 503
    _, said = await rag.ask("POST", "/query", json={"question": "Within how many days may goods be sent back?"})
    assert said["degraded"]
    assert "30 days" in said["answer"]
    assert "did not start" in said["why_degraded"]


async def test_question_that_no_document_speaks_of_asks_no_model(rag: Rag, hub: FakeHub):
    await rag.add("policy.md", POLICY)
    _, said = await rag.ask("POST", "/query", json={"question": "Wer gewann gestern Fußball Hamburg?"})
    assert (said["supported"], hub.chats) == (False, [])


async def test_client_that_leaves_stops_the_chat(rag: Rag, hub: FakeHub):
    hub.says = "..."
    await rag.add("policy.md", POLICY)
    body = {"question": "Within how many days may goods be sent back?"}
    with pytest.raises(TimeoutError):
        await rag.ask("POST", "/query", json=body, timeout=aiohttp.ClientTimeout(total=1))
    async with asyncio.timeout(5):
        while not hub.chats_left:  # noqa: ASYNC110 - the other side of a socket
            await asyncio.sleep(0.02)


async def test_index_survives_a_restart_and_refuses_another_embedding_model(settings: RagSettings, hub: FakeHub):
    async with rag_over(settings) as rag:
        await rag.add("policy.md", POLICY)
    async with rag_over(settings) as rag:
        assert (await rag.names_found("refund"))[:1] == ["policy.md"]
        assert (await rag.add("policy.md", POLICY))[0] == 200
        hub.dimensions = 64
        status, problem = await rag.add("other.md", "Something else.")
        assert (status, problem["error"]["type"]) == (409, "IndexMismatch")
    async with rag_over(replace(settings, embed_model="nomic-embed-text")) as rag:
        for path, body in (("/search", {"query": "refund"}), ("/documents", {"name": "a", "text": "b"})):
            status, problem = await rag.ask("POST", path, json=body)
            assert (status, problem["error"]["type"]) == (409, "IndexMismatch")
            assert "all-minilm:22m" in problem["error"]["message"]


async def test_hub_away_is_said_with_what_to_do(settings: RagSettings):
    async with rag_over(replace(settings, hub_url="http://127.0.0.1:1")) as rag:
        for path, body in (
            ("/search", {"query": "refund"}),
            ("/query", {"question": "refund"}),
            ("/documents", {"name": "a", "text": "b"}),
        ):
            status, problem = await rag.ask("POST", path, json=body)
            assert (status, problem["error"]["type"]) == (503, "HubUnreachable")
            assert "partage up" in problem["error"]["message"]
        assert (await rag.ask("GET", "/documents"))[1] == {"documents": []}


async def test_slow_embedding_of_a_question_is_a_timeout(settings: RagSettings, hub: FakeHub):
    hub.embed_hangs = asyncio.Event()
    async with rag_over(replace(settings, embed_timeout_s=0.2)) as rag:
        status, problem = await rag.ask("POST", "/query", json={"question": "refund"})
        assert (status, problem["error"]["type"]) == (504, "EngineTimedOut")
        assert "0.2 s" in problem["error"]["message"]
        hub.embed_hangs.set()


@pytest.mark.parametrize(
    ("name", "content", "status"),
    [
        ("empty.txt", b"", 422),
        ("blank.md", b"  \n\n", 422),
        ("program", b"\x7fELF\0\0\0\0", 415),
        ("not.pdf", b"plain words", 415),
        ("really.txt", b"%PDF-1.7 ...", 415),
        ("big.txt", b"x" * 3_000_000, 413),
        ("scan.pdf", b"%PDF-1.7 ...", 503),  # the document service is away
    ],
)
async def test_bad_file_is_refused_in_the_one_error_shape(
    settings: RagSettings, name: str, content: bytes, status: int
):
    async with rag_over(replace(settings, max_file_bytes=2_000_000)) as rag:
        answered, problem = await rag.upload(name, content)
        assert (answered, problem["error"]["status"]) == (status, status)
        assert problem["error"]["message"]
        assert (await rag.add("good.txt", "It still works."))[0] == 201


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("/documents", b"{", "JSON"),
        ("/documents", b'{"name": "a"}', "text"),
        ("/documents", b'{"name": "a", "text": 3}', "text"),
        ("/query", b'{"question": ""}', "question"),
        ("/query", b"", "body"),
        ("/search", b'{"query": "a", "limit": 0}', "limit"),
        ("/search", b'{"query": "a", "limmit": 3}', "limmit"),
    ],
)
async def test_bad_body_is_a_400_that_names_the_field(rag: Rag, path: str, body: bytes, named: str):
    status, problem = await rag.ask("POST", path, data=body, headers={"Content-Type": "application/json"})
    assert status == 400
    assert named in problem["error"]["message"]


async def test_pdf_is_read_by_the_document_service(settings: RagSettings):
    async def process(request: Request) -> Response:
        async with request.form() as form:
            assert getattr(form["file"], "filename", "") == "manual.pdf"
        return JSONResponse(
            {"pages": [{"number": 1, "text": "Hold the button."}, {"number": 2, "text": "Wait for it."}]}
        )

    documents = Starlette(routes=[Route("/process", process, methods=["POST"])])
    async with served(documents) as url, rag_over(replace(settings, documents_url=url)) as rag:
        status, answer = await rag.upload("manual.pdf", b"%PDF-1.7" + b"." * 2_000_000)
        assert (status, answer["document"]["pages"]) == (201, 2)
        _, found = await rag.ask("POST", "/search", json={"query": "wait", "limit": 1})
        assert (found["hits"][0]["page"], found["hits"][0]["text"]) == (2, "Wait for it.")


async def test_progress_is_told_in_batches_small_enough_to_let_others_through(rag: Rag, hub: FakeHub):
    text = "\n\n".join(f"Paragraph {number} says something about item {number}. " * 8 for number in range(60))
    headers = {"Accept": "application/x-ndjson"}
    async with rag.session.post(f"{rag.url}/documents", json={"name": "long", "text": text}, headers=headers) as reply:
        lines = [json.loads(line) async for line in reply.content]
    assert lines[0] == {"stage": "reading", "done": 0, "total": 0}
    assert lines[-2]["done"] == lines[-2]["total"] == lines[-1]["document"]["chunks"]
    assert max(hub.batches) <= 16


async def test_service_killed_in_the_middle_of_an_ingest_leaves_no_half_document(settings: RagSettings, hub: FakeHub):
    async with rag_over(settings) as rag:
        await rag.add("policy.md", POLICY)
    program = (
        "import sys, uvicorn; from pathlib import Path; from partage.rag.app import create_app;"
        "from partage.rag.settings import RagSettings;"
        "app = create_app(RagSettings(data_dir=Path(sys.argv[1]), hub_url=sys.argv[2]));"
        "uvicorn.run(app, fd=int(sys.argv[3]), ws='none', log_level='warning')"
    )
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port, fd = listener.getsockname()[1], listener.fileno()
        arguments = [sys.executable, "-c", program, str(settings.data_dir), settings.hub_url, str(fd)]
        child = await asyncio.create_subprocess_exec(*arguments, pass_fds=[fd])
    hub.embed_hangs = asyncio.Event()
    try:
        hub.embed_reached.clear()
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
            rag = Rag(f"http://127.0.0.1:{port}", session)

            async def add_in_vain():
                with pytest.raises(aiohttp.ClientError):
                    await rag.add("policy.md", POLICY + "More.")

            tasks.create_task(add_in_vain())
            async with asyncio.timeout(30):
                await hub.embed_reached.wait()
            child.send_signal(signal.SIGKILL)
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()
        hub.embed_hangs.set()
    async with rag_over(settings) as rag:
        _, found = await rag.ask("POST", "/search", json={"query": "refund for faulty goods"})
        assert all("More." not in hit["text"] for hit in found["hits"])
        assert (await rag.add("policy.md", POLICY))[0] == 200


def spoil(data_dir: Path, pattern: str) -> None:
    for file in data_dir.glob(f"chunks.lance/{pattern}"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize(
    ("pattern", "kept"),
    [("_versions/*", False), ("data/*", False), ("_indices/**/*", True)],
    ids=["list", "rows", "words"],
)
async def test_a_damaged_index_is_put_aside_and_told_and_what_can_be_read_is_in_the_new_one(
    settings: RagSettings, pattern: str, kept: bool
):
    async with rag_over(settings) as rag:
        await rag.add("policy.md", POLICY)
        await rag.add("garantie.txt", GERMAN)
        assert (await rag.ask("GET", "/healthz"))[1] == {"status": "ok", "problems": []}
    spoil(settings.data_dir, pattern)
    async with rag_over(settings) as rag:
        _, health = await rag.ask("GET", "/healthz")
        found = await rag.names_found("refund for faulty goods", limit=1)
        assert found == (["policy.md"] if kept else [])
        status, _ = await rag.add("policy.md", POLICY)
        assert status == (200 if kept else 201)
        assert await rag.names_found("refund for faulty goods", limit=1) == ["policy.md"]
    [aside] = settings.data_dir.glob("damaged-*")
    assert list(aside.glob("chunks.lance/_versions/*")), "nothing is deleted"
    assert health["status"] == "degraded"
    assert str(aside) in health["problems"][0]
    assert ("ingested again" in health["problems"][0]) is not kept
    async with rag_over(settings) as rag:
        assert (await rag.ask("GET", "/healthz"))[1] == health, "until somebody has looked after it"
        assert await rag.names_found("refund for faulty goods", limit=1) == ["policy.md"]
