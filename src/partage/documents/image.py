"""Opens image files within bounds: declared size first, then pixels, upright as the camera says. Runs in a reading process."""

from __future__ import annotations

import warnings
from collections.abc import Generator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from partage.documents.settings import Limits
from partage.documents.sniff import Kind
from partage.errors import DocumentUnreadable

_FORMATS = {Kind.PNG: ("PNG",), Kind.JPEG: ("JPEG",), Kind.TIFF: ("TIFF",), Kind.WEBP: ("WEBP",)}


@contextmanager
def opened(path: str, kind: Kind, limits: Limits) -> Generator[Image.Image]:
    # Only the one decoder that the content asks for: a TIFF never reaches Pillow's PSD or EPS code.
    Image.MAX_IMAGE_PIXELS = limits.image_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS[kind]) as image:
                yield image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        bound = f"{limits.image_pixels / 1e6:.0f} million pixels"
        raise DocumentUnreadable(f"the image is too large to read: more than {bound}; scale it down") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError) as error:
        raise DocumentUnreadable(f"the {kind} image is corrupt: {error or type(error).__name__}") from error


def frames(image: Image.Image, kind: Kind) -> int:
    return getattr(image, "n_frames", 1) if kind is Kind.TIFF else 1


def pixels(image: Image.Image, number: int) -> NDArray[np.uint8]:
    """One frame in RGB, transparent parts white."""
    if number > 1:
        image.seek(number - 1)
    image.load()
    upright = ImageOps.exif_transpose(image)
    if upright.mode in ("I;16", "I", "F"):
        samples = np.asarray(upright, dtype=np.float32)
        upright = Image.fromarray((255 * samples / max(1.0, float(samples.max()))).astype(np.uint8))
    if upright.has_transparency_data:
        upright = upright.convert("RGBA")
        white = Image.new("RGBA", upright.size, "white")
        upright = Image.alpha_composite(white, upright)
    return np.asarray(upright.convert("RGB"))


def bounded(picture: NDArray[np.uint8], limits: Limits) -> NDArray[np.uint8]:
    """Scaled down to the number of pixels that recognition is worth."""
    height, width = picture.shape[:2]
    if width * height <= limits.render_pixels:
        return picture
    scale = (limits.render_pixels / (width * height)) ** 0.5
    size = (max(1, int(width * scale)), max(1, int(height * scale)))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))
