"""The dashboard in a real browser: what a person sees, does by keyboard, and is told when the hub goes away."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio
from chromium import CHROMIUM, Browser, Tab, chromium
from dashboard_stage import StagedHub, busy, dashboard, listening, quiet, resident
from PIL import Image
from rag_service import FakeHub as EmbeddingHub
from rag_service import Rag, rag_over

from partage.documents.app import create_app as create_documents
from partage.documents.settings import DocumentSettings
from partage.rag.settings import RagSettings
from partage.work import ChatWork

pytest.importorskip("nicegui", reason="the extra `dashboard` is not installed")
pytestmark = [
    pytest.mark.live,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here"),
]
PAGES = ("/", "/models", "/chat", "/documents", "/ask")


@dataclass
class Stage:
    """Everything a test looks at or turns."""

    hub: StagedHub
    rag: Rag
    browser: Browser
    url: str
    hub_port: int
    up: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def open(self, path: str = "/", **size: int) -> Tab:
        return await self.browser.open(self.url + path, **size)

    async def hub_comes(self) -> None:
        await self.up.enter_async_context(listening(self.hub.app(), self.hub_port))

    async def hub_goes(self) -> None:
        await self.up.aclose()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Stage]:
    home = tmp_path_factory.mktemp("dashboard")
    hub = StagedHub()
    async with AsyncExitStack() as stack:
        up = await stack.enter_async_context(AsyncExitStack())
        hub_url = await up.enter_async_context(listening(hub.app()))
        documents_app = create_documents(DocumentSettings(data_dir=home / "documents", vision_model=""))
        documents_url = await stack.enter_async_context(listening(documents_app))
        embedding_url = await stack.enter_async_context(
            listening(EmbeddingHub(says="Goods may be sent back within 30 days [1].").app())
        )
        rag = await stack.enter_async_context(rag_over(RagSettings(data_dir=home / "rag", hub_url=embedding_url)))
        url = await stack.enter_async_context(dashboard(home, hub_url, documents=documents_url, rag=rag.url))
        browser = await stack.enter_async_context(chromium(home / "profile"))
        yield Stage(hub=hub, rag=rag, browser=browser, url=url, hub_port=int(hub_url.rsplit(":", 1)[1]), up=up)


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def clean(stage: Stage) -> AsyncGenerator[None]:
    stage.hub.state = quiet()
    stage.hub.unloaded.clear()
    yield
    for tab in list(stage.browser.tabs.values()):
        await tab.close()
    stage.browser.tabs.clear()


async def focus_button(tab: Tab, label: str) -> None:
    button = f"[...document.querySelectorAll('button')].find((one) => one.ariaLabel === {json.dumps(label)})"
    await tab.until(button)
    await tab.focus(button)


def busy_now(stage: Stage) -> None:
    stage.hub.state = busy(asyncio.get_running_loop().time())


async def test_first_page_shows_an_idle_hub_without_errors_and_asks_nobody_else(stage: Stage):
    tab = await stage.open()
    await tab.sees("No model is loaded here")
    for text in ("Nobody waits.", "Nothing was in memory in the last hour.", "Nobody has called yet", "All is well."):
        assert text in await tab.text()
    paint_ms = await tab.until("performance.getEntriesByName('first-contentful-paint')[0]?.startTime")
    assert paint_ms < 15_000
    assert {request for request in tab.requests if not request.startswith(stage.url)} == {
        request for request in tab.requests if request.startswith(stage.url.replace("http", "ws"))
    }
    assert tab.problems == []


async def test_a_busy_hub_is_shown_by_device_part_client_and_time(stage: Stage):
    busy_now(stage)
    tab = await stage.open()
    await tab.sees("NVIDIA RTX 4000 Ada 0")
    text = await tab.text()
    for shown in (
        "chatty:latest",
        "leaving soon",
        "KV cache",
        "12 waiting",
        "about 10 s to come",
        "172.18.0.7",
        "1 failed",
        "train-1",
        "4.00 GiB of NVIDIA RTX 4000 Ada 1",
        "5.00 GiB used",
        "waits at place 1",
        "Parked in RAM",
        "paused by hand",
    ):
        assert shown in text
    words = await tab.run("document.querySelector('.bar').ariaLabel")
    assert words.startswith("NVIDIA RTX 4000 Ada 0: 16.0 GiB of 19.0 GiB in use, 2 models: chatty:latest 9.00 GiB")
    shares = await tab.run("[...document.querySelectorAll('.bar')[0].children].map((one) => one.clientWidth)")
    assert len(shares) == 11
    assert await tab.run("document.querySelectorAll('.span').length") == 9
    assert await tab.run("document.querySelectorAll('.pause').length") == 2
    assert "Containers" not in text
    assert tab.problems == []


async def test_what_happens_on_the_hub_is_on_the_page_a_moment_later(stage: Stage):
    tab = await stage.open()
    await tab.sees("No model is loaded here")
    loop = asyncio.get_running_loop()
    stage.hub.state["residents"] = [resident("chatty:latest", "host", 1 << 30)]
    began_s = loop.time()
    await tab.sees("chatty:latest")
    assert loop.time() - began_s < 10
    stage.hub.alarms["standing"] = [{"rule": "thrash", "message": "Models come and go", "cure": "run `partage plan`"}]
    await tab.sees("Models come and go")
    stage.hub.alarms["standing"] = []
    await tab.sees("All is well.")


async def test_a_hub_that_goes_away_is_told_and_the_page_goes_on_by_itself_when_it_is_back(stage: Stage):
    busy_now(stage)
    tab = await stage.open()
    await tab.sees("chatty:latest")
    await stage.hub_goes()
    await tab.sees("The hub has not answered since")
    assert "chatty:latest" in await tab.text()
    other = await stage.open()
    await other.sees("The hub has not answered since")
    await stage.hub_comes()
    stage.hub.state = quiet()
    await tab.sees("No model is loaded here")
    assert "has not answered" not in await tab.text()
    assert tab.problems == []


async def test_unload_asks_first_and_escape_means_no_all_by_keyboard(stage: Stage):
    busy_now(stage)
    tab = await stage.open()
    await tab.sees("embedder:latest")
    await focus_button(tab, "Unload embedder:latest")
    await tab.key("Enter")
    await tab.until("document.querySelector('[role=dialog]')?.contains(document.activeElement)")
    await tab.key("Escape")
    await tab.until("!document.querySelector('[role=dialog]')")
    assert stage.hub.unloaded == []
    await focus_button(tab, "Unload embedder:latest")
    await tab.key("Enter")
    await tab.until("document.activeElement.textContent === 'Cancel'")
    await tab.key("Tab")
    await tab.until("document.activeElement.textContent === 'Unload'")
    await tab.key("Enter")
    await tab.sees("embedder:latest leaves the memory")
    assert stage.hub.unloaded == ["embedder:latest"]


async def test_load_from_the_page_of_models_asks_first_and_tells(stage: Stage):
    tab = await stage.open("/models")
    await tab.sees("chatty:latest")
    await focus_button(tab, "Load chatty:latest")
    await tab.key("Enter")
    await tab.until("document.activeElement.textContent === 'Cancel'")
    await tab.key("Tab")
    await tab.key("Enter")
    await tab.sees("chatty:latest is in memory")
    assert stage.hub.requests[-1].work is None


async def test_pin_asks_first_and_reaches_the_hub(stage: Stage):
    busy_now(stage)
    tab = await stage.open()
    await focus_button(tab, "Pin embedder:latest")
    await tab.key("Enter")
    await tab.sees("It stays in memory whatever else is wanted")
    await tab.until("document.activeElement.textContent === 'Cancel'")
    await tab.key("Tab")
    await tab.key("Enter")
    await tab.sees("embedder:latest is pinned")
    assert stage.hub.pins == {"embedder:latest": True}


async def test_pausing_a_model_or_a_lease_asks_first_and_reaches_the_hub(stage: Stage):
    busy_now(stage)
    tab = await stage.open()
    for label, said in (
        ("Resume embedder:latest", "embedder:latest goes on"),
        ("Pause train-1", "train-1 is paused"),
    ):
        await focus_button(tab, label)
        await tab.key("Enter")
        await tab.until("document.activeElement.textContent === 'Cancel'")
        await tab.key("Tab")
        await tab.key("Enter")
        await tab.sees(said)
    assert stage.hub.pauses == {"embedder:latest": False, "train-1": True}


async def test_timeline_is_zoomed_and_moved_by_keys(stage: Stage):
    busy_now(stage)
    tab = await stage.open()
    await tab.until("document.querySelectorAll('.span').length === 9")
    await tab.focus("document.querySelector('.timeline')")
    for _ in range(3):
        await tab.key("+", "+")
    await tab.until("document.querySelectorAll('.span').length === 5")
    for _ in range(16):
        await tab.key("ArrowLeft")
    await tab.until("document.querySelectorAll('.span').length === 3")
    await tab.key("Home")
    await tab.until("document.querySelectorAll('.span').length === 5")


async def test_chat_sends_the_picture_and_shows_the_answer(stage: Stage, tmp_path: Path):
    Image.new("RGB", (40, 30), "teal").save(tmp_path / "teal.png")
    tab = await stage.open("/chat")
    await tab.until("document.querySelector('select').options.length > 1")
    await tab.run("document.querySelector('select').value = 'seer:latest'")
    await tab.choose_file("input[type=file]", tmp_path / "teal.png")
    await tab.sees("teal.png goes with the next message.")
    await tab.focus("document.querySelector('textarea')")
    await tab.type("What colour is this?")
    await tab.key("Enter")
    await tab.sees("4 tokens")
    assert await tab.run("document.querySelector('.talk .assistant .prose').innerText") == "What colour is this?"
    assert await tab.run("document.querySelector('.talk img').naturalWidth") == 40
    assert await tab.run("document.querySelector('textarea').value") == ""
    request = stage.hub.requests[-1]
    assert isinstance(request.work, ChatWork)
    assert request.model == "seer:latest"
    assert request.work.messages[-1].images[0].data == (tmp_path / "teal.png").read_bytes()
    assert tab.problems == []


async def test_document_is_shown_with_the_box_of_every_field_on_its_page(stage: Stage, tmp_path: Path):
    paper = tmp_path / "return.pdf"
    _draw_return(paper)
    tab = await stage.open("/documents")
    await tab.sees("Choose a file")
    await tab.choose_file("input[type=file]", paper)
    await tab.sees("page read in", 40)
    found = await tab.run(
        "[...document.querySelectorAll('.fields > div:not(.missing)')].map((one) => one.dataset.field)"
    )
    boxes = await tab.run("[...document.querySelectorAll('.box')].map((one) => one.dataset.field)")
    assert "rma_number" in found
    assert sorted(boxes) == sorted(found)
    await tab.until("document.querySelector('.paper img').naturalWidth > 500")
    left, top, width, height = await tab.run(
        "(() => { const paper = document.querySelector('.paper').getBoundingClientRect();"
        " const box = document.querySelector('.box[data-field=rma_number]').getBoundingClientRect();"
        " return [(box.left - paper.left) / paper.width, (box.top - paper.top) / paper.height,"
        " box.width / paper.width, box.height / paper.height]; })()"
    )
    assert 0.1 < left < 0.4
    assert 0.05 < top < 0.2
    assert 0 < width < 0.5
    assert 0 < height < 0.1
    await tab.focus("document.querySelector('.box[data-field=rma_number]')")
    assert await tab.run("document.querySelector('.fields .lit').dataset.field") == "rma_number"
    assert tab.problems == []


async def test_answer_of_the_rag_service_shows_its_citations_within_their_pages(stage: Stage):
    await stage.rag.add(
        "policy.md", "Read this first.\n\nGoods may be sent back within 30 days of delivery.\n\nThen no more."
    )
    tab = await stage.open("/ask")
    await tab.sees("Your question")
    await tab.focus("document.querySelector('textarea')")
    await tab.type("When may goods be sent back?")
    await tab.key("Enter")
    await tab.sees("policy.md, page 1")
    marked = await tab.run("document.querySelector('mark').innerText")
    assert "30 days" in marked
    await tab.focus("document.querySelector('.cite')")
    await tab.key("Enter")
    assert await tab.run("document.activeElement.dataset.number") == "1"
    assert tab.problems == []


async def test_a_service_that_is_away_is_told_in_its_own_words(stage: Stage, tmp_path: Path):
    async with dashboard(tmp_path, stage.url) as url:
        tab = await stage.browser.open(url + "/ask")
        await tab.sees("Your question")
        await tab.focus("document.querySelector('textarea')")
        await tab.type("Anyone?")
        await tab.key("Enter")
        await tab.sees("start it with `partage up`")


async def test_many_open_pages_ask_the_hub_as_often_as_one(stage: Stage):
    tabs = [await stage.open() for _ in range(5)]
    for tab in tabs:
        await tab.sees("Host memory")
    asked = stage.hub.asked
    await asyncio.sleep(3)
    assert stage.hub.asked - asked <= 4


@pytest.fixture(scope="module")
def axe() -> str:
    """The source of axe-core, from the npm registry."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("there is no npm here to fetch axe-core with")
    folder = Path(tempfile.gettempdir(), "partage-test-axe")
    script = folder / "node_modules" / "axe-core" / "axe.min.js"
    if not script.exists():
        import subprocess  # noqa: PLC0415

        folder.mkdir(exist_ok=True)
        done = subprocess.run(
            [npm, "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder), "axe-core@4"],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        if done.returncode != 0 or not script.exists():
            pytest.skip(f"axe-core cannot be fetched here: {done.stderr[-200:]}")
    return script.read_text(encoding="utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_no_serious_problem_on_any_page(stage: Stage, axe: str, scheme: str):
    busy_now(stage)
    found: list[str] = []
    for path in PAGES:
        tab = await stage.open()
        await tab.prefer(scheme)
        await tab.go(stage.url + path)
        await tab.until("document.querySelector('.panel')")
        if path == "/":
            await focus_button(tab, "Unload embedder:latest")
            found += await _problems(tab, axe, path)
            await tab.key("Enter")
            await tab.until("document.activeElement.textContent === 'Cancel'")
        found += await _problems(tab, axe, path)
        await tab.size(390, 844)
        found += await _problems(tab, axe, path + " on a phone")
        wide = await tab.run("document.documentElement.scrollWidth")
        assert wide <= 390, path
    assert found == []


async def _problems(tab: Tab, axe: str, where: str) -> list[str]:
    await tab.run(axe + "; true")
    await asyncio.sleep(0.4)  # colours are looked at once nothing fades any more
    said = await tab.run("axe.run().then((said) => JSON.stringify(said.violations))")
    return [
        f"{where}: {one['id']}: {one['nodes'][0]['html']} {one['nodes'][0]['failureSummary']}"
        for one in json.loads(said)
        if one["impact"] in ("serious", "critical")
    ]


def _draw_return(path: Path) -> None:
    from reportlab.pdfgen.canvas import Canvas  # noqa: PLC0415

    canvas = Canvas(str(path), pagesize=(595, 842))
    lines = (
        "RMA number: RMA-2026-00417",
        "Customer: Ada Example",
        "Serial number: SN-88213",
        "Reason: display flickers",
    )
    for row, line in enumerate(lines):
        canvas.drawString(60, 750 - 24 * row, line)
    canvas.save()
