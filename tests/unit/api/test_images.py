from __future__ import annotations

import base64

import pytest

from partage.api.images import image_of, image_of_url
from partage.errors import InvalidRequest, Unsupported

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 10


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"BM....", "image/bmp"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
    ],
)
def test_pictures_are_known_by_their_first_bytes(data: bytes, media_type: str):
    assert image_of(data, "images[0]").media_type == media_type


@pytest.mark.parametrize("data", [b"", b"%PDF-1.7", b"RIFF\0\0\0\0WAVE"])
def test_what_is_no_picture_is_refused_by_name(data: bytes):
    with pytest.raises(InvalidRequest, match=r"images\[0\]: this is no PNG"):
        image_of(data, "images[0]")


def test_a_data_url_brings_its_picture_whatever_it_claims_to_be():
    url = "data:image/jpeg;base64," + base64.b64encode(PNG).decode()
    image = image_of_url(url, "here")
    assert (image.data, image.media_type) == (PNG, "image/png")


@pytest.mark.parametrize("url", ["data:image/png,abc", "data:image/png;base64", "data:image/png;base64,%%%"])
def test_a_broken_data_url_is_refused(url: str):
    with pytest.raises(InvalidRequest, match="here: "):
        image_of_url(url, "here")


@pytest.mark.parametrize("scheme", ["http", "https", "file", "ftp"])
def test_no_address_is_ever_fetched(scheme: str):
    with pytest.raises(Unsupported, match=f"{scheme} URLs are not fetched; send the picture as a data: URL"):
        image_of_url(f"{scheme}://example.com/a.png", "here")
