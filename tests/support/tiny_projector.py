"""A vision projector with random weights, for tests: with any small text model it makes a model that takes pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.real_shapes import Tower, make_projector


def write_projector(path: Path, text_width: int) -> None:
    """What it says is noise, but every part of the way is the real one: LLaVA 1.5's shape, small."""
    make_projector(path, Tower(size=56, patch=14, width=64, inner=128, blocks=2, heads=4), text_width, np.float32)
