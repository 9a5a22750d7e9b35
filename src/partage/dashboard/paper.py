"""Draws the pages of a document for the browser: PDF and images to small JPEGs, in a process of its own with limits.

The file is anybody's: a decoder that hangs, crashes or swells takes only this process down.
`python -m partage.dashboard.paper FILE TURNS` prints JSON lines, one data address per page.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import resource
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

SHOWN_PAGES = 8
WIDEST = 1400
MOST_PIXELS = 60_000_000
QUALITY = 82
TIMEOUT_S = 30.0
CPU_S = 20
MEMORY_BYTES = 2 << 30
FORMATS = ("PNG", "JPEG", "TIFF", "WEBP")


async def page_images(content: bytes, turns: Sequence[int]) -> list[str]:
    """Data addresses of the pages, each turned clockwise by so many degrees; fewer, or none, where they cannot be drawn."""
    with tempfile.NamedTemporaryFile(prefix="partage-paper-") as file:
        await asyncio.to_thread(file.write, content)
        await asyncio.to_thread(file.flush)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "partage.dashboard.paper", file.name, ",".join(map(str, turns[:SHOWN_PAGES]))),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(TIMEOUT_S):
                drawn, _ = await process.communicate()
        except TimeoutError:
            return []
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    return [str(json.loads(line)) for line in drawn.splitlines()]


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    turns = [int(turn) for turn in sys.argv[2].split(",")]
    for page, turn in zip(_pages(Path(sys.argv[1]), len(turns)), turns, strict=False):
        print(json.dumps(_address(page, turn)), flush=True)  # noqa: T201 its answer


def _pages(path: Path, count: int) -> Iterator[Image]:
    with path.open("rb") as file:
        if file.read(1024).lstrip().startswith(b"%PDF"):
            yield from _pdf_pages(path, count)
        else:
            yield from _frames(path, count)


def _pdf_pages(path: Path, count: int) -> Iterator[Image]:
    import pypdfium2  # noqa: PLC0415 the extra `documents`; without it there is no picture, and the fields are shown alone

    document = pypdfium2.PdfDocument(path)
    for number in range(min(count, len(document))):
        page = document[number]
        width, height = page.get_size()
        scale = min(WIDEST / max(width, 1), (MOST_PIXELS / max(width * height, 1)) ** 0.5)
        yield page.render(scale=scale).to_pil()


def _frames(path: Path, count: int) -> Iterator[Image]:
    from PIL import Image, ImageOps  # noqa: PLC0415 the extra `documents`

    Image.MAX_IMAGE_PIXELS = MOST_PIXELS
    with Image.open(path, formats=FORMATS) as image:
        frames = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
        for number in range(min(count, frames)):
            image.seek(number)
            yield ImageOps.exif_transpose(image)


def _address(page: Image, turn: int) -> str:
    upright = page.rotate(-turn, expand=True) if turn else page
    upright = upright.convert("RGB")
    upright.thumbnail((WIDEST, 3 * WIDEST))
    out = io.BytesIO()
    upright.save(out, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()


if __name__ == "__main__":
    main()
