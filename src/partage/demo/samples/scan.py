"""Turns drawn pages into what scanners, phones, fax machines and screens make of them: noise, blur, light, perspective."""

from __future__ import annotations

from io import BytesIO
from typing import Any, TypeAlias
from zlib import crc32

import numpy as np
import numpy.typing as npt
import pypdfium2 as pdfium
from PIL import Image, ImageFilter

Floats: TypeAlias = "npt.NDArray[np.floating[Any]]"
SCAN_SCALE = 2  # pixels per point: 144 dpi, A4 becomes 1191 x 1684 pixels
PHOTO_SCALE = 3
ORIENTATION = 0x0112  # EXIF: how the camera was held


def render(pdf: bytes, *, scale: int = SCAN_SCALE) -> list[Image.Image]:
    document = pdfium.PdfDocument(pdf)
    try:
        return [page.render(scale=scale).to_pil().convert("RGB") for page in document]
    finally:
        document.close()


def count_pages(pdf: bytes) -> int:
    document = pdfium.PdfDocument(pdf)
    try:
        return len(document)
    finally:
        document.close()


def chance(name: str) -> np.random.Generator:
    """Randomness that depends on the document's name alone."""
    return np.random.default_rng(crc32(name.encode()))


def scanned(page: Image.Image, random: np.random.Generator) -> Image.Image:
    """A flatbed scan: slightly turned, soft, lit from one side, grainy, with a few specks."""
    turn = float(random.uniform(0.5, 1.3)) * (1 if random.random() < 0.5 else -1)
    turned = page.rotate(turn, Image.Resampling.BICUBIC, fillcolor=(255, 255, 255))
    soft = turned.filter(ImageFilter.GaussianBlur(0.7))
    pixels = np.asarray(soft, dtype=np.float32)
    height, width = pixels.shape[:2]
    across, down = np.meshgrid(np.linspace(0, 1, width, dtype=np.float32), np.linspace(0, 1, height, dtype=np.float32))
    light = 0.97 - 0.17 * across * down - 0.10 * np.exp(-across / 0.03)
    faded = 255 - (255 - pixels) * 0.86
    shaded = faded * light[..., None] * np.array([1.0, 0.99, 0.965], dtype=np.float32)
    specked = with_specks(shaded, random, count=60)
    return as_image(specked + grain((height, width), random, sigma=7))


def grain(shape: tuple[int, ...], random: np.random.Generator, *, sigma: float) -> Floats:
    """Brightness noise, the same in every colour."""
    return sigma * random.standard_normal((*shape, 1), dtype=np.float32)


def with_specks(pixels: Floats, random: np.random.Generator, *, count: int) -> Floats:
    specked = pixels.copy()
    for y, x in random.integers(2, (pixels.shape[0] - 2, pixels.shape[1] - 2), (count, 2)):
        specked[y : y + 2, x : x + 2] *= 0.45
    return specked


def photographed(page: Image.Image, random: np.random.Generator, *, size: tuple[int, int]) -> Image.Image:
    """A phone's photo: the sheet in perspective on a table, a shadow over one corner, vignette, warm light, soft focus."""
    width, height = size
    table = table_top(size, random)
    margin = 0.05
    jitter = random.uniform(0.0, 0.025, 8)
    corners = [
        ((margin + jitter[0]) * width + 0.02 * width, (margin + jitter[1]) * height),
        ((1 - margin - jitter[2]) * width - 0.03 * width, (margin + jitter[3] + 0.012) * height),
        ((1 - margin - jitter[4] + 0.02) * width, (1 - margin - jitter[5]) * height),
        ((margin + jitter[6] - 0.02) * width, (1 - margin - jitter[7] + 0.01) * height),
    ]
    perspective = coefficients(corners, page.size)
    sheet = page.transform(size, Image.Transform.PERSPECTIVE, perspective, Image.Resampling.BICUBIC)
    whole = Image.new("L", page.size, 255).transform(size, Image.Transform.PERSPECTIVE, perspective)
    drop = Image.new("L", size, 0)
    drop.paste(whole, (width // 120, width // 90))
    dark_table = Image.composite(
        table.point(lambda value: int(value * 0.55)), table, drop.filter(ImageFilter.GaussianBlur(width / 110))
    )
    scene = Image.composite(sheet, dark_table, whole).filter(ImageFilter.GaussianBlur(0.8))
    pixels = np.asarray(scene, dtype=np.float32)
    across, down = np.meshgrid(
        np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
    )
    vignette = 1 - 0.16 * (across**2 + down**2)
    edge = (across + 0.7 * down - 0.55) * 5  # the shadow of whoever holds the phone, over the lower right
    shadow = 1 - 0.33 / (1 + np.exp(-edge))
    lit = pixels * (vignette * shadow)[..., None] * np.array([0.99, 0.955, 0.88], dtype=np.float32)
    return as_image(lit + grain((height, width), random, sigma=5))


def table_top(size: tuple[int, int], random: np.random.Generator) -> Image.Image:
    """Wood: long streaks of two browns."""
    width, height = size
    lines = np.repeat(random.standard_normal((height, 1), dtype=np.float32), width, axis=1)
    streaks = Image.fromarray(np.clip(128 + 46 * lines, 0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(2.5))
    tone = (np.asarray(streaks, dtype=np.float32) / 255)[..., None]
    return as_image(np.array([92, 62, 38], dtype=np.float32) + tone * np.array([70, 56, 40], dtype=np.float32))


def coefficients(corners: list[tuple[float, float]], source: tuple[int, int]) -> list[float]:
    """Pillow's eight numbers for the perspective that puts a page of size `source` onto four corners (clockwise)."""
    width, height = source
    rows: list[list[float]] = []
    targets: list[float] = []
    for (x, y), (u, v) in zip(corners, ((0, 0), (width, 0), (width, height), (0, height)), strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        targets += [u, v]
    return [float(number) for number in np.linalg.solve(np.array(rows), np.array(targets))]


def faxed(page: Image.Image, random: np.random.Generator) -> Image.Image:
    """One bit per pixel, ragged edges, dirt and a turn of a third of a degree."""
    turned = page.convert("L").rotate(-0.35, Image.Resampling.BICUBIC, fillcolor=255)
    pixels = np.asarray(turned, dtype=np.float32)
    ragged = pixels[..., None] + grain(pixels.shape, random, sigma=30)
    dirty = with_specks(ragged, random, count=120)[..., 0]
    return Image.fromarray(np.where(dirty > 128, 255, 0).astype(np.uint8)).convert("1")


def as_image(pixels: Floats) -> Image.Image:
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8), "RGB")


def encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def photograph(pdf: bytes, random: np.random.Generator) -> bytes:
    """A JPEG as phones store a portrait: the pixels lie on their side and EXIF says so."""
    [page] = render(pdf, scale=PHOTO_SCALE)
    width = 1300
    photo = photographed(page, random, size=(width, round(width * page.height / page.width)))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    return encoded(photo.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=82, exif=exif)
