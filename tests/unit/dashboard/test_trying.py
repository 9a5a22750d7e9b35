from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any, cast

import pytest
from PIL import Image

from partage.client.services import Answered, Box, Cited, Found, Page, Processed
from partage.dashboard import paper
from partage.dashboard.citations import AROUND, cited_answer
from partage.dashboard.evidence import evidence


def test_every_field_with_a_place_has_its_box_on_its_page():
    processed = Processed(
        name="return.pdf",
        pages=[Page(number=1, width=600, height=800, method="text_layer"), Page(number=2, method="ocr")],
        fields={
            "rma_number": Found(value="RMA-1", page=2, box_normalised=Box(0.5, 0.25, 0.75, 0.3), confidence=0.934),
            "serial": Found(reason="no label found"),
            "parts": Found(value=["a", 1], page=1),
        },
        seconds=2.0,
    )
    shown = cast("Any", evidence(processed, ["data:image/jpeg;base64,AA"]))
    assert shown["told"] == "2 pages read in 2.0 s, 2 of 3 fields found"
    assert [len(page["boxes"]) for page in shown["pages"]] == [0, 1]
    assert [page["image"] for page in shown["pages"]] == ["data:image/jpeg;base64,AA", ""]
    box = shown["pages"][1]["boxes"][0]
    assert (box["left"], box["top"], box["width"], box["height"]) == (49.6, 24.75, 25.8, 5.5)
    assert box["label"] == "rma number: RMA-1"
    values = {field["name"]: (field["value"], field["why"], field["confidence"]) for field in shown["fields"]}
    assert values["rma_number"] == ("RMA-1", "", "93 %")
    assert values["serial"] == ("", "no label found", "0 %")
    assert values["parts"][0] == '["a",1]'


def cited(span: tuple[int, int], number: int = 1) -> Cited:
    return Cited(number=number, document="policy.md", document_id="d1", page=1, span=span, text="30 days")


def test_an_answer_is_cut_at_the_marks_that_have_a_citation():
    answered = Answered(answer="30 days [1], not [7].", citations=[cited((0, 7))], timings={"total_s": 1.5}, model="m")
    shown = cast("Any", cited_answer(answered, {}))
    assert [(piece["text"], piece["cite"]) for piece in shown["pieces"]] == [
        ("30 days ", None),
        ("", 1),
        (", not [7].", None),
    ]
    assert shown["told"] == "by m in 1.5 s"
    assert shown["degraded"] == ""


def test_a_citation_is_shown_in_its_place_and_alone_where_the_page_is_not_to_be_had():
    page = "x" * 400 + "30 days" + "y" * 400
    pages = {("d1", 1): page}
    shown = cast("Any", cited_answer(Answered(answer="", citations=[cited((400, 407))]), pages))["citations"][0]
    assert (shown["before"], shown["marked"], shown["after"]) == ("…" + "x" * AROUND, "30 days", "y" * AROUND + "…")
    for span, texts in (((400, 407), {}), ((700, 9000), pages)):
        alone = cast("Any", cited_answer(Answered(answer="", citations=[cited(span)]), texts))["citations"][0]
        assert (alone["before"], alone["marked"], alone["after"]) == ("", "30 days", "")


@pytest.mark.parametrize(("turn", "size"), [(0, (40, 20)), (90, (20, 40))])
def test_a_page_is_turned_upright_as_the_document_service_did(tmp_path: Path, turn: int, size: tuple[int, int]):
    Image.new("RGB", (40, 20), "white").save(tmp_path / "p.png")
    (page,) = paper._pages(tmp_path / "p.png", 1)
    address = paper._address(page, turn)
    assert _opened(address).size == size


def test_a_large_page_is_scaled_down_and_more_pages_than_shown_are_left_out(tmp_path: Path):
    frames = [Image.new("L", (3000, 1500)) for _ in range(3)]
    frames[0].save(tmp_path / "p.tif", save_all=True, append_images=frames[1:])
    pages = list(paper._pages(tmp_path / "p.tif", 2))
    assert len(pages) == 2
    assert _opened(paper._address(pages[0], 0)).size == (1400, 700)


def _opened(address: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))
