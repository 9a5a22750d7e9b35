"""The document service as a process: real files of every kind, hostile ones too, and readers that are killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from fastapi import FastAPI
from PIL import Image, ImageDraw, ImageFont
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas
from uvicorn import Config, Server

from partage.documents.app import create_app
from partage.documents.settings import DocumentSettings, Limits
from partage.errors import ModelNotFound
from partage.json_value import JsonObject

pytestmark = pytest.mark.live

LINES = ("RMA number: RMA-2026-004217", "Product: Brio Milk Frother", "Quantity: 2", "Refund amount: 79.90 EUR")


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 other processes set no event of ours
            await asyncio.sleep(0.02)


class Service:
    def __init__(self, app: FastAPI, session: aiohttp.ClientSession) -> None:
        self.app, self.session = app, session

    async def post(self, data: bytes, name: str, path: str = "/process", **fields: str) -> tuple[int, Any]:
        form = aiohttp.FormData(fields)
        form.add_field("file", BytesIO(data), filename=name, content_type="application/octet-stream")
        async with self.session.post(path, data=form) as reply:
            return reply.status, await reply.json()

    async def get(self, path: str) -> tuple[int, Any]:
        async with self.session.get(path) as reply:
            return reply.status, await reply.json()

    @property
    def reader_pids(self) -> tuple[int, ...]:
        return self.app.state.readers.pids


@pytest.fixture
async def start(tmp_path: Path, unused_tcp_port_factory: Callable[[], int]) -> AsyncGenerator[Callable[..., Any]]:
    async with asyncio.TaskGroup() as tasks:
        servers: list[Server] = []
        sessions: list[aiohttp.ClientSession] = []

        async def start_one(reader: Any = None, **settings: Any) -> Service:  # noqa: ANN401 - whatever settings take
            base = DocumentSettings(data_dir=tmp_path, vision_model="" if reader is None else None)
            app = create_app(replace(base, **settings), reader=reader)
            server = Server(Config(app, port=unused_tcp_port_factory(), log_level="warning", lifespan="on"))
            serving = tasks.create_task(server.serve())
            while not server.started:
                assert not serving.done(), "the service did not start"
                await asyncio.sleep(0.02)
            servers.append(server)
            sessions.append(aiohttp.ClientSession(f"http://127.0.0.1:{server.config.port}"))
            return Service(app, sessions[-1])

        yield start_one
        for session in sessions:
            await session.close()
        for server in servers:
            server.should_exit = True


def pdf(*pages: tuple[str, ...], password: str | None = None, size: tuple[float, float] = (595, 842)) -> bytes:
    out = BytesIO()
    canvas = Canvas(out, pagesize=size, encrypt=StandardEncryption(password) if password else None)
    for lines in pages:
        canvas.setFont("Helvetica", 14)
        for row, line in enumerate(lines):
            canvas.drawString(72, size[1] - 100 - 28 * row, line)
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def picture(lines: tuple[str, ...] = LINES) -> Image.Image:
    image = Image.new("RGB", (900, 90 + 60 * len(lines)), "white")
    font = ImageFont.load_default(30)
    for row, line in enumerate(lines):
        ImageDraw.Draw(image).text((60, 50 + 60 * row), line, fill="black", font=font)
    return image


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:  # noqa: ANN401 - Pillow's own options
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def values(answer: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {name: field["value"] for name, field in answer["fields"].items() if field["value"] is not None}


WANTED = {
    "rma_number": "RMA-2026-004217",
    "product": "Brio Milk Frother",
    "quantity": 2,
    "amount": 79.9,
    "currency": "EUR",
}


async def test_a_pdf_with_text_is_read_without_ocr_and_every_field_has_its_box(start: Callable[..., Any]):
    service = await start()
    status, answer = await service.post(
        pdf(LINES, ("Second page of the same return, with more words.",)), "a.pdf", schema="rma"
    )
    assert status == 200
    assert [page["method"] for page in answer["pages"]] == ["text_layer", "text_layer"]
    assert values(answer) == WANTED
    field = answer["fields"]["rma_number"]
    assert field["unit"] == "point"
    assert field["box"]["left"] == pytest.approx(155, abs=8)
    assert field["box_normalised"]["top"] == pytest.approx(0.105, abs=0.02)
    assert answer["fields"]["serial_number"]["reason"] == "not found on any page"


async def test_pictures_of_every_kind_are_read_by_ocr(start: Callable[..., Any]):
    service = await start()
    pages = [picture(), picture(("Serial number: BR2-2512-00655",))]
    files = {
        "a.png": encoded(pages[0], "PNG"),
        "a.webp": encoded(pages[0], "WEBP", quality=90),
        "a.jpg": encoded(pages[0].rotate(90, expand=True), "JPEG", quality=92),
        "a.tiff": encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:]),
    }
    answer: Any = None
    for name, data in files.items():
        status, answer = await service.post(data, name, schema="rma")
        assert status == 200, answer
        assert WANTED.items() <= values(answer).items(), name
        assert answer["pages"][0]["method"] == "ocr"
    assert (len(answer["pages"]), values(answer)["serial_number"]) == (2, "BR2-2512-00655")


async def test_a_scan_on_its_head_is_turned_upright(start: Callable[..., Any]):
    service = await start()
    status, answer = await service.post(encoded(picture().rotate(180), "PNG"), "a.png", schema="rma")
    assert status == 200
    assert values(answer) == WANTED
    assert answer["pages"][0]["turned_degrees"] == 180


@pytest.mark.parametrize(
    ("data", "name", "fields", "status", "says"),
    [
        (pdf(LINES, password="secret"), "a.pdf", {}, 422, "encrypted"),
        (pdf(LINES)[:300], "a.pdf", {}, 422, "corrupt"),
        (pdf(("",), size=(14000, 14000)), "a.pdf", {}, 422, "too large to render"),
        (encoded(picture(), "PNG")[:2000], "a.png", {}, 422, "corrupt"),
        (encoded(Image.new("1", (15000, 15000)), "PNG"), "a.png", {}, 422, "too large to read"),
        (encoded(picture(), "PNG"), "a.pdf", {}, 415, "is a png file, but it was sent as pdf"),
        (b"GIF89a", "a.gif", {}, 415, "send PDF, PNG, JPEG, TIFF or WebP"),
        (b"", "a.pdf", {}, 415, "is empty"),
        (pdf(LINES), "a.pdf", {"schema": '{"type": 3}'}, 400, "not a JSON Schema"),
        (pdf(LINES), "a.pdf", {"timeout_s": "soon"}, 400, "timeout_s"),
    ],
    ids=[
        "encrypted",
        "truncated-pdf",
        "huge-page",
        "truncated-png",
        "bomb",
        "misnamed",
        "gif",
        "empty",
        "schema",
        "timeout",
    ],
)
async def test_bad_input_is_told_what_is_wrong(
    start: Callable[..., Any], data: bytes, name: str, fields: dict[str, str], status: int, says: str
):
    service = await start()
    got, answer = await service.post(data, name, **fields)
    assert (got, answer["error"]["status"]) == (status, status)
    assert says in answer["error"]["message"]


async def test_an_upload_over_the_limit_is_refused_in_mid_stream_and_leaves_nothing(
    start: Callable[..., Any], tmp_path: Path
):
    service = await start(limits=Limits(upload_bytes=1 << 20))
    sent = 0

    async def endless() -> AsyncGenerator[bytes]:
        nonlocal sent
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.pdf"\r\n\r\n%PDF-'
        while sent < 200 << 20:
            sent += 1 << 16
            yield bytes(1 << 16)

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    try:
        async with service.session.post("/process", data=endless(), headers=headers) as reply:
            assert reply.status == 413
            assert "larger than the 1 MiB" in (await reply.json())["error"]["message"]
    except aiohttp.ClientOSError:
        pass  # the server hung up before the client had read its answer
    assert sent < 100 << 20
    assert list((tmp_path / "uploads").iterdir()) == []


async def test_a_reader_that_dies_costs_one_document_and_the_service_stays_up(start: Callable[..., Any]):
    service = await start()
    slow = encoded(picture(LINES * 8), "PNG")
    _, job = await service.post(slow, "slow.png", "/jobs")
    await wait_until(lambda: bool(service.reader_pids))
    await asyncio.sleep(0.3)
    for pid in service.reader_pids:
        os.kill(pid, signal.SIGKILL)
    async with service.session.get(f"/jobs/{job['id']}/events") as events:
        await events.read()
    _, shown = await service.get(f"/jobs/{job['id']}")
    assert shown["state"] == "failed"
    assert shown["error"]["type"] == "DocumentUnreadable"
    assert "crashed on it (SIGKILL)" in shown["error"]["message"]
    status, answer = await service.post(pdf(LINES), "next.pdf", schema="rma")
    assert (status, values(answer)) == (200, WANTED)


async def test_a_page_that_takes_too_long_is_stopped(start: Callable[..., Any]):
    service = await start(limits=Limits(page_s=0.2))
    status, answer = await service.post(encoded(picture(), "PNG"), "a.png")
    assert status == 422
    assert "took longer than 0.2 s" in answer["error"]["message"]
    assert service.reader_pids == ()


async def test_after_a_timeout_the_work_goes_on_and_its_result_survives_a_restart(start: Callable[..., Any]):
    service = await start()
    status, late = await service.post(encoded(picture(), "PNG"), "a.png", schema="rma", timeout_s="0.05")
    assert status == 504
    assert "the work goes on" in late["error"]["message"]
    path = f"/jobs/{late['error']['job_id']}"
    async with service.session.get(f"{path}/events") as events:
        told = [msgspec.json.decode(line[6:])["event"] async for line in events.content if line.startswith(b"data: ")]
    assert told == ["running", "opened", "page", "done"]
    again = await start()
    _, shown = await again.get(path)
    assert values(shown["result"]) == WANTED
    async with again.session.delete(path) as reply:
        assert reply.status == 200
    assert (await again.get(path))[0] == 404


async def test_a_cancelled_job_frees_its_reader(start: Callable[..., Any]):
    service = await start()
    _, job = await service.post(encoded(picture(LINES * 8), "PNG"), "slow.png", "/jobs")
    await wait_until(lambda: bool(service.reader_pids))
    async with service.session.delete(f"/jobs/{job['id']}") as reply:
        assert (await reply.json())["state"] == "cancelled"
    await wait_until(lambda: not service.reader_pids)
    status, answer = await service.get("/healthz")
    assert (status, answer["status"]) == (200, "ok")


class Seer:
    """A vision model that reads well, but also makes things up."""

    def __init__(self, transcript: str = "\n".join(LINES)) -> None:
        self.transcript = transcript

    async def model(self, wanted: str | None) -> str | None:
        if wanted not in (None, "seer"):
            raise ModelNotFound(str(wanted))
        return "seer"

    async def transcribe(self, model: str, jpeg: bytes) -> str:
        assert Image.open(BytesIO(jpeg)).format == "JPEG"
        return self.transcript

    async def fields(self, model: str, text: str, jpegs: tuple[bytes, ...], schema: JsonObject) -> JsonObject:
        assert jpegs
        return {"product": "Brio Milk Frother", "serial_number": "SN-INVENTED-1"}


async def test_a_vision_model_reads_scans_and_what_it_makes_up_is_never_returned(start: Callable[..., Any]):
    service = await start(reader=Seer())
    status, answer = await service.post(encoded(picture(), "PNG"), "a.png", schema="rma")
    assert status == 200
    assert answer["pages"][0]["method"] == "vision_model"
    assert values(answer) == WANTED
    assert "SN-INVENTED-1" in answer["fields"]["serial_number"]["reason"]
    status, answer = await service.post(encoded(picture(), "PNG"), "a.png", model="blind")
    assert (status, answer["error"]["type"]) == (404, "ModelNotFound")


async def test_a_made_up_transcript_gives_way_to_ocr(start: Callable[..., Any]):
    service = await start(reader=Seer("a dog plays on a lawn"))
    _, answer = await service.post(encoded(picture(), "PNG"), "a.png")
    assert answer["pages"][0]["method"] == "ocr"
    assert "not what is on the page" in answer["pages"][0]["note"]


async def test_a_reading_process_ends_with_its_service(tmp_path: Path):
    program = f"""
import asyncio
from pathlib import Path
from partage.documents.calls import Inspect
from partage.documents.pool import ReaderPool
from partage.documents.settings import DocumentSettings
from partage.documents.sniff import Kind

async def main():
    async with ReaderPool(DocumentSettings(data_dir=Path({str(tmp_path)!r}))) as pool:
        await pool.call(Inspect({str(tmp_path / "a.pdf")!r}, Kind.PDF))
        print(pool.pids[0], flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""
    (tmp_path / "a.pdf").write_bytes(pdf(LINES))
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    pid = int(await process.stdout.readline())
    process.kill()
    await process.wait()
    await wait_until(lambda: not Path(f"/proc/{pid}").exists())
