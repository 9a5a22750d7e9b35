"""Draws every sample document into a directory: `draw_samples`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from partage.demo.samples import forms, layouts, scan
from partage.demo.samples.returns import Medium, Return, Value, read_returns
from partage.demo.samples.sheet import Sheet

MEDIA_TYPES = {".pdf": "application/pdf", ".jpg": "image/jpeg", ".tiff": "image/tiff", ".webp": "image/webp"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One document on disk and what a reader must find in it."""

    path: Path
    kind: Medium
    """text: every page has a text layer; mixed: the first has; scan, photo, fax, screen: pixels only."""
    media_type: str
    pages: int
    language: str
    truth: Mapping[str, Value]
    """Every field; None where the paper lacks it."""

    @property
    def name(self) -> str:
        return self.path.stem


def draw_samples(directory: Path) -> list[Sample]:
    """Write all samples; the same pixels every time. Raises OSError where the directory cannot be written."""
    directory.mkdir(parents=True, exist_ok=True)
    return [draw_sample(directory, return_) for return_ in read_returns()]


def draw_sample(directory: Path, return_: Return) -> Sample:
    data, suffix, pages = paper(return_)
    path = directory / f"{return_.name}{suffix}"
    path.write_bytes(data)
    return Sample(
        path=path,
        kind=return_.medium,
        media_type=MEDIA_TYPES[suffix],
        pages=pages,
        language=return_.language,
        truth=return_.expected(),
    )


def paper(return_: Return) -> tuple[bytes, str, int]:
    """The file's bytes, its suffix and how many pages it has."""
    pdf = layouts.draw(return_)
    random = scan.chance(return_.name)
    match return_.medium:
        case "text":
            return pdf, ".pdf", scan.count_pages(pdf)
        case "mixed":
            return with_scanned_second_page(return_, random), ".pdf", 2
        case "scan":
            images = [scan.scanned(page, random) for page in scan.render(pdf)]
            return pictures_only(images), ".pdf", len(images)
        case "photo":
            return scan.photograph(pdf, random), ".jpg", 1
        case "fax":
            page = scan.faxed(scan.render(pdf)[0], random)
            return scan.encoded(page, "TIFF", compression="group4", dpi=(144, 144)), ".tiff", 1
        case "screen":
            return scan.encoded(scan.render(pdf)[0], "WEBP", quality=85), ".webp", 1


def pictures_only(images: list[Image.Image]) -> bytes:
    sheet = Sheet(title="Scan")
    for image in images:
        sheet.picture(scan.encoded(image, "JPEG", quality=60))
        sheet.end_page()
    return sheet.finish()


def with_scanned_second_page(return_: Return, random: np.random.Generator) -> bytes:
    """A claim whose form is typed and whose invoice was put on the scanner."""
    invoice = Sheet(title="Invoice")
    forms.invoice_page(invoice, return_)
    [page] = scan.render(invoice.finish())
    sheet = Sheet(title=return_.other["title"])
    forms.form_page(sheet, return_, leave_out=("serial_number", "amount"))
    sheet.end_page()
    sheet.picture(scan.encoded(scan.scanned(page, random), "JPEG", quality=60))
    return sheet.finish()
