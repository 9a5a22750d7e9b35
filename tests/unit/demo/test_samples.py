from __future__ import annotations

import hashlib
from pathlib import Path

import pypdfium2 as pdfium
import pytest
from PIL import Image, ImageOps

from partage.demo.samples.draw import Sample, draw_sample, draw_samples
from partage.demo.samples.knowledge import MANUAL, POLICY, QUESTIONS, knowledge_files
from partage.demo.samples.returns import FIELDS, Return, read_returns
from partage.demo.samples.scan import coefficients, render

RETURNS = {return_.name: return_ for return_ in read_returns()}
DRAWN = [return_ for return_ in RETURNS.values() if return_.medium == "text"]


def text_layer(data: bytes) -> str:
    document = pdfium.PdfDocument(data)
    text = " ".join(page.get_textpage().get_text_range() for page in document)
    document.close()
    return " ".join(text.split())


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sample]:
    return {sample.name: sample for sample in draw_samples(tmp_path_factory.mktemp("samples"))}


def test_set_has_every_kind_of_paper_that_the_demo_promises(samples: dict[str, Sample]):
    assert len(samples) >= 12
    assert {sample.kind for sample in samples.values()} == {"text", "scan", "photo", "fax", "screen", "mixed"}
    assert {sample.path.suffix for sample in samples.values()} == {".pdf", ".jpg", ".tiff", ".webp"}
    assert sum(sample.language == "de" for sample in samples.values()) >= 2
    assert max(sample.pages for sample in samples.values()) >= 3


def test_every_field_is_on_most_papers_and_some_papers_lack_some():
    truths = [return_.expected() for return_ in RETURNS.values()]
    for field in FIELDS:
        assert sum(truth[field] is not None for truth in truths) > len(truths) / 2
    assert sum(None in truth.values() for truth in truths) >= 4


def test_truth_is_written_as_iso_dates_and_numbers():
    truth = RETURNS["06-ruecksendeschein"].expected()
    assert (truth["purchase_date"], truth["amount"], truth["currency"]) == ("2025-12-04", 1049.0, "EUR")


@pytest.mark.parametrize("return_", DRAWN, ids=lambda return_: return_.name)
def test_every_value_of_the_truth_is_in_the_text_layer(return_: Return, samples: dict[str, Sample]):
    text = text_layer(samples[return_.name].path.read_bytes())
    missing = [field for field in FIELDS if field != "currency" and return_.shown(field) not in text]
    assert missing == []


def test_scans_and_photos_have_no_text_layer(samples: dict[str, Sample]):
    for sample in samples.values():
        if sample.kind == "scan":
            assert text_layer(sample.path.read_bytes()) == ""


def test_mixed_document_is_text_first_and_a_picture_second(samples: dict[str, Sample]):
    text = text_layer(samples["15-form-and-scanned-invoice"].path.read_bytes())
    assert "RMA-2026-004333" in text
    assert "TU1-2510-03308" not in text


def test_photo_is_upright_only_once_its_exif_orientation_is_applied(samples: dict[str, Sample]):
    with Image.open(samples["10-form-photo"].path) as photo:
        assert photo.width > photo.height
        upright = ImageOps.exif_transpose(photo)
    assert upright.height > upright.width


def test_media_types_are_those_of_the_bytes(samples: dict[str, Sample]):
    starts = {"application/pdf": b"%PDF-", "image/jpeg": b"\xff\xd8", "image/tiff": b"II*\0", "image/webp": b"RIFF"}
    for sample in samples.values():
        assert sample.path.read_bytes().startswith(starts[sample.media_type])


@pytest.mark.parametrize("name", ["03-dealer-sheet", "12-form-fax", "09-dealer-sheet-scan"])
def test_drawing_twice_gives_the_same_pixels(name: str, tmp_path: Path, samples: dict[str, Sample]):
    again = draw_sample(tmp_path, RETURNS[name])
    assert pixels_digest(again) == pixels_digest(samples[name])


def pixels_digest(sample: Sample) -> str:
    if sample.media_type == "application/pdf":
        pages = render(sample.path.read_bytes(), scale=1)
    else:
        with Image.open(sample.path) as image:
            pages = [image.convert("RGB")]
    return hashlib.sha256(b"".join(page.tobytes() for page in pages)).hexdigest()


def test_perspective_sends_each_corner_of_the_photo_to_a_corner_of_the_page():
    corners = [(10.0, 20.0), (90.0, 15.0), (95.0, 130.0), (5.0, 120.0)]
    a, b, c, d, e, f, g, h = coefficients(corners, (100, 140))
    for (x, y), (u, v) in zip(corners, [(0, 0), (100, 0), (100, 140), (0, 140)], strict=True):
        scale = g * x + h * y + 1
        assert ((a * x + b * y + c) / scale, (d * x + e * y + f) / scale) == pytest.approx((u, v), abs=1e-6)


def test_each_fact_asked_for_is_on_the_page_that_must_be_cited(tmp_path: Path):
    knowledge_files(tmp_path)
    manual = pdfium.PdfDocument((tmp_path / MANUAL).read_bytes())
    for question in QUESTIONS:
        if question.document == MANUAL:
            assert question.page is not None
            text = manual[question.page - 1].get_textpage().get_text_range()
        elif question.document == POLICY:
            text = (tmp_path / POLICY).read_text()
        else:
            text = RETURNS[question.document].shown("reason")
        assert question.fact in " ".join(text.split())
    manual.close()


def test_there_are_five_questions_on_policy_manual_and_returns():
    assert len(QUESTIONS) == 5
    assert {question.document for question in QUESTIONS} == {POLICY, MANUAL, "10-form-photo"}
