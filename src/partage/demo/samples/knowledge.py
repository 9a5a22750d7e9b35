"""What the RAG service is given besides the returns: the policy (Markdown) and a manual (PDF), and five questions on them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from partage.demo.samples.sheet import GREY, Sheet

POLICY = "returns_policy.md"
MANUAL = "duo58_manual.pdf"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and what shows that the answer is right."""

    text: str
    document: str
    """What must be among the citations: the policy, the manual, or a sample by its name."""
    page: int | None
    """Its page, counted from 1; None where the document has no pages."""
    fact: str
    """Must occur in the answer."""


QUESTIONS: tuple[Question, ...] = (
    Question(
        "Within how many days can unused articles in their original packing be returned?",
        POLICY,
        None,
        "30 days after delivery",
    ),
    Question("How high is the restocking fee for a used espresso machine?", POLICY, None, "15 percent"),
    Question("What does error code E05 of the Duo 58 mean?", MANUAL, 4, "flow meter counts no water"),
    Question("To what torque is the screw of the shower screen tightened?", MANUAL, 6, "4.5 Nm"),
    Question("Why does Daniel Okafor return his milk frother?", "10-form-photo", 1, "heating plate burns milk"),
)


def knowledge_files(directory: Path) -> list[Path]:
    """Write the policy and the manual; gives their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    policy, manual = directory / POLICY, directory / MANUAL
    policy.write_text(_read("returns_policy.md"), encoding="utf-8")
    manual.write_bytes(draw_manual(_read("manual.md")))
    return [policy, manual]


def draw_manual(text: str) -> bytes:
    """The manual as a PDF with a text layer: every "# " chapter is a page."""
    sheet = Sheet(title="Torrevia Duo 58 Manual")
    for number, chapter in enumerate(text.removeprefix("# ").split("\n# "), start=1):
        if number > 1:
            sheet.end_page()
        title, _, body = chapter.partition("\n")
        sheet.text(56, 46, "Torrevia Duo 58 · Manual", size=8.5, ink=GREY)
        sheet.text(56, 84, title, size=17, bold=True)
        y = 116.0
        for paragraph in body.strip().split("\n\n"):
            for item in paragraph.split("\n- "):
                bullet = paragraph.startswith("- ")
                words = item.removeprefix("- ").replace("\n", " ")
                if bullet:
                    sheet.text(62, y, "•", size=11)
                y = sheet.wrapped(76 if bullet else 56, y, words, 463 if bullet else 483, size=11, lead=1.45) + 3
            y += 9
        sheet.text(298, 803, str(number), size=9, ink=GREY, align="centre")
    return sheet.finish()


def _read(name: str) -> str:
    return resources.files(__package__ or "").joinpath(name).read_text(encoding="utf-8")
