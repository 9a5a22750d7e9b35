"""Arithmetic on embedding vectors."""

from __future__ import annotations

import math


def shorten(vector: tuple[float, ...], dimensions: int, *, normalise: bool) -> tuple[float, ...]:
    """Keep the first dimensions (Matryoshka representation learning, arXiv 2205.13147) and renormalise."""
    kept = vector[:dimensions]
    length = math.hypot(*kept)
    return tuple(number / length for number in kept) if normalise and length > 0 else kept
