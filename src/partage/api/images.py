"""Pictures in requests: what kind they are, by their first bytes, and data: URLs."""

from __future__ import annotations

import binascii

from partage.errors import InvalidRequest, Unsupported
from partage.work import Image

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
)


def image_of(data: bytes, field: str) -> Image:
    """The picture with its media type, which is read from the bytes, not believed. Raises InvalidRequest."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return Image(data=data, media_type="image/webp")
    for signature, media_type in _SIGNATURES:
        if data.startswith(signature):
            return Image(data=data, media_type=media_type)
    raise InvalidRequest(f"{field}: this is no PNG, JPEG, WebP, GIF or BMP picture", field=field)


def url_of_image(image: Image) -> str:
    return f"data:{image.media_type};base64,{binascii.b2a_base64(image.data, newline=False).decode()}"


def image_of_url(url: str, field: str) -> Image:
    """The picture in a data: URL. Raises Unsupported for every other kind, InvalidRequest for a broken one."""
    if not url.startswith("data:"):
        scheme = url.partition(":")[0][:20]
        raise Unsupported(
            f"{field}: {scheme} URLs are not fetched; send the picture as a data: URL (http and https are, where "
            "hub.fetch_images allows it)"
        )
    head, comma, payload = url.partition(",")
    if not comma or not head.endswith(";base64"):
        raise InvalidRequest(f'{field}: expected "data:image/...;base64,..."', field=field)
    return image_of_base64(payload, field)


def image_of_base64(payload: str, field: str) -> Image:
    try:
        data = binascii.a2b_base64(payload, strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"{field}: not valid base64: {error}", field=field) from None
    return image_of(data, field)
