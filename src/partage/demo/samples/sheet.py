"""A page to draw on: reportlab's canvas with the origin at the top left, in points, and text that wraps."""

from __future__ import annotations

from io import BytesIO
from typing import Literal

from reportlab import rl_config
from reportlab.graphics.barcode.code128 import Code128
from reportlab.lib.colors import Color, HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.utils import ImageReader, simpleSplit
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas

rl_config.useA85 = 0  # streams as bytes, not as text: a fifth smaller, and no slow encoder in Python

INK = HexColor(0x1A1A1A)
GREY = HexColor(0x6A6A6A)
PALE = HexColor(0xE9ECEF)
BLUE = HexColor(0x1F4E79)
RED = HexColor(0xB3261E)
WHITE = HexColor(0xFFFFFF)

# The fonts every PDF reader brings along; bold and regular of each family.
FONTS = {
    "sans": ("Helvetica", "Helvetica-Bold"),
    "serif": ("Times-Roman", "Times-Bold"),
    "mono": ("Courier", "Courier-Bold"),
}


class Sheet:
    """One PDF in the making; `end_page` turns the page, `finish` gives the bytes."""

    def __init__(self, *, width: float = A4[0], height: float = A4[1], family: str = "sans", title: str = "") -> None:
        self.width, self.height = width, height
        self._regular, self._bold = FONTS[family]
        self._buffer = BytesIO()
        # invariant: no time stamp and no random id, so that the same data give the same bytes.
        self._canvas = Canvas(self._buffer, pagesize=(width, height), invariant=True)
        self._canvas.setTitle(title)
        self._canvas.setAuthor("Torrevia (sample)")

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 10,
        bold: bool = False,
        ink: Color = INK,
        align: Literal["left", "right", "centre"] = "left",
    ) -> float:
        """Write one line on the baseline `y`; gives the x where it ends."""
        font = self._bold if bold else self._regular
        width = stringWidth(text, font, size)
        left = {"left": x, "right": x - width, "centre": x - width / 2}[align]
        self._canvas.setFont(font, size)
        self._canvas.setFillColor(ink)
        self._canvas.drawString(left, self.height - y, text)
        return left + width

    def wrapped(self, x: float, y: float, text: str, width: float, *, size: float = 10, lead: float = 1.35) -> float:
        """Write a paragraph, wrapped at `width`; gives the baseline of the line after it."""
        for line in text.split("\n"):
            for piece in simpleSplit(line, self._regular, size, width) or [""]:
                self.text(x, y, piece, size=size)
                y += size * lead
        return y

    def line(self, x1: float, y1: float, x2: float, y2: float, *, ink: Color = INK, width: float = 0.7) -> None:
        self._canvas.setStrokeColor(ink)
        self._canvas.setLineWidth(width)
        self._canvas.line(x1, self.height - y1, x2, self.height - y2)

    def box(self, x: float, y: float, width: float, height: float, *, fill: Color | None = None) -> None:
        self._canvas.setStrokeColor(INK)
        self._canvas.setLineWidth(0.7)
        if fill is not None:
            self._canvas.setFillColor(fill)
        self._canvas.rect(
            x, self.height - y - height, width, height, stroke=int(fill is None), fill=int(fill is not None)
        )

    def barcode(self, x: float, y: float, value: str, *, height: float = 26) -> None:
        Code128(value, barWidth=0.9, barHeight=height, quiet=False).drawOn(self._canvas, x, self.height - y - height)

    def stamp(self, x: float, y: float, text: str, *, degrees: float = 14) -> None:
        self._canvas.saveState()
        self._canvas.translate(x, self.height - y)
        self._canvas.rotate(degrees)
        self._canvas.setStrokeColor(RED)
        self._canvas.setFillColor(RED)
        self._canvas.setLineWidth(2)
        width = stringWidth(text, self._bold, 22)
        self._canvas.roundRect(-8, -8, width + 16, 32, 4)
        self._canvas.setFont(self._bold, 22)
        self._canvas.drawString(0, 0, text)
        self._canvas.restoreState()

    def scrawl(self, x: float, y: float) -> None:
        """Something like a signature."""
        path = self._canvas.beginPath()
        base = self.height - y
        path.moveTo(x, base)
        for step in range(6):
            left = x + 16 * step
            path.curveTo(left + 4, base + 20 - 2 * step, left + 9, base - 12 + step, left + 16, base + 3)
        self._canvas.setStrokeColor(BLUE)
        self._canvas.setLineWidth(1.2)
        self._canvas.drawPath(path)

    def picture(self, data: bytes) -> None:
        """Fill the page with a JPEG; the file keeps the JPEG as it is."""
        self._canvas.drawImage(ImageReader(BytesIO(data)), 0, 0, self.width, self.height)

    def end_page(self) -> None:
        self._canvas.showPage()

    def finish(self) -> bytes:
        self._canvas.save()
        return self._buffer.getvalue()
