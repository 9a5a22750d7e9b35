from __future__ import annotations

import pytest

from partage.documents.sniff import Kind, kind_of
from partage.errors import UnsupportedDocument

HEADS = {
    Kind.PDF: b"%PDF-1.7\n",
    Kind.PNG: b"\x89PNG\r\n\x1a\n\0\0",
    Kind.JPEG: b"\xff\xd8\xff\xe0",
    Kind.TIFF: b"II*\0\x08\0",
    Kind.WEBP: b"RIFF\x10\0\0\0WEBPVP8 ",
}


@pytest.mark.parametrize("kind", HEADS)
def test_a_file_is_what_its_first_bytes_say(kind: Kind):
    assert kind_of(HEADS[kind]) is kind
    assert kind_of(HEADS[kind], f"scan.{kind}", "application/octet-stream") is kind


@pytest.mark.parametrize(
    ("head", "name", "media_type", "says"),
    [
        (b"\xff\xd8\xff\xe0", "form.pdf", "", "is a jpeg file, but it was sent as pdf"),
        (b"%PDF-1.4", "form", "image/png", "is a pdf file, but it was sent as png"),
        (b"%PDF-1.4", "form.pdf", "text/plain", "was sent as text/plain"),
        (b"GIF89a", "x.gif", "image/gif", "is not any kind that is read here"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "IMG_1.HEIC", "image/heic", "is a HEIC photo, .* export it as JPEG"),
        (b"hello", "x.pdf", "", "is not a pdf file, as its name or type says"),
        (b"", "x.pdf", "", "is empty"),
    ],
)
def test_a_file_that_is_not_what_it_claims_is_refused_with_both(head: bytes, name: str, media_type: str, says: str):
    with pytest.raises(UnsupportedDocument, match=says):
        kind_of(head, name, media_type)
