"""The page to try the document service: a file in, its pages with the box of every field out."""

from __future__ import annotations

from dataclasses import dataclass, field

from nicegui.element import Element
from nicegui.events import GenericEventArguments, UploadEventArguments

from partage.dashboard.evidence import evidence
from partage.dashboard.pages.forms import file_button, select
from partage.dashboard.pages.frame import Parts, page, say, tag, told
from partage.dashboard.panels import EvidencePanel
from partage.dashboard.paper import page_images

FILE_BYTES = 50 << 20
KINDS = ".pdf,.png,.jpg,.jpeg,.tif,.tiff,.webp"
SCHEMAS = (
    ("rma", "Product return (rma)"),
    ("invoice", "Invoice"),
    ("receipt", "Receipt"),
    ("", "No fields, the text alone"),
)
CHOSEN = "(event) => emit(event.target.value)"


def build(parts: Parts) -> None:
    with page("/documents", parts) as follow:
        with tag("section", classes="panel").props('aria-label="A document"'):
            tag(
                "p",
                "PDF, PNG, JPEG, TIFF or WebP. It is read by the document service, as a client of class batch.",
                "quiet",
            )
            reading = Reading(parts)
            with tag("div", classes="acts"):
                chosen = select("Fields to find", "schema", SCHEMAS)
                chosen.on("change", reading.choose, js_handler=CHOSEN)
                file_button("Choose a file", KINDS, reading.read, FILE_BYTES).classes("strong")
            reading.note = tag("p", classes="quiet").props("role=status")
        reading.panel = EvidencePanel()
        follow([])


@dataclass
class Reading:
    parts: Parts
    schema: str = SCHEMAS[0][0]
    note: Element = field(init=False)
    panel: EvidencePanel = field(init=False)

    def choose(self, event: GenericEventArguments) -> None:
        self.schema = str(event.args)

    async def read(self, event: UploadEventArguments) -> None:
        name, content = event.file.name, await event.file.read()
        say(self.note, f"Reading {name} …")
        try:
            with told():
                processed = await self.parts.documents.process(name, content, self.schema)
                images = await page_images(content, [page.turned_degrees for page in processed.pages])
                self.panel.draw(evidence(processed, images))
        finally:
            say(self.note, "")
