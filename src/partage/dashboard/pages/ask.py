"""The page to ask the RAG service: an answer, and the passages it stands on, highlighted in their pages."""

from __future__ import annotations

from dataclasses import dataclass, field

from nicegui import ui
from nicegui.element import Element
from nicegui.events import GenericEventArguments, UploadEventArguments

from partage.client.services import Answered
from partage.dashboard.citations import cited_answer
from partage.dashboard.pages.forms import file_button, form, writing
from partage.dashboard.pages.frame import Parts, page, say, tag, told
from partage.dashboard.panels import AnswerPanel
from partage.errors import PartageError

FILE_BYTES = 50 << 20
KINDS = ".txt,.md,.pdf,.png,.jpg,.jpeg,.tif,.tiff,.webp"


def build(parts: Parts) -> None:
    with page("/ask", parts) as follow:
        asking = Asking(parts)
        with tag("section", classes="panel").props("aria-label=Question"), form(asking.ask):
            writing("Your question", "question", "What do the documents say about ...?")
            with tag("div", classes="acts"):
                file_button("Add a document", KINDS, asking.add, FILE_BYTES)
                tag("button", "Ask", "strong").props("type=submit")
            asking.note = tag("p", classes="quiet").props("role=status")
        asking.panel = AnswerPanel()
        follow([])


@dataclass
class Asking:
    parts: Parts
    note: Element = field(init=False)
    panel: AnswerPanel = field(init=False)

    async def ask(self, event: GenericEventArguments) -> None:
        question = str(event.args.get("question", "")).strip()
        if not question:
            return
        say(self.note, "Looking …")
        try:
            with told():
                answered = await self.parts.rag.ask(question)
                self.panel.draw(cited_answer(answered, await self._pages(answered)))
        finally:
            say(self.note, "")

    async def add(self, event: UploadEventArguments) -> None:
        say(self.note, f"Taking in {event.file.name} …")
        try:
            with told():
                await self.parts.rag.add(event.file.name, await event.file.read())
                ui.notify(f"{event.file.name} can be asked about")
        finally:
            say(self.note, "")

    async def _pages(self, answered: Answered) -> dict[tuple[str, int], str]:
        """The cited pages; one that cannot be had is shown as the passage alone."""
        texts: dict[tuple[str, int], str] = {}
        for document in {cited.document_id for cited in answered.citations}:
            try:
                pages = await self.parts.rag.pages(document)
            except PartageError:
                continue
            texts |= {(document, number): text for number, text in pages.items()}
        return texts
