"""Numbers as the pages write them: short, with their unit, and steady enough to be read while they change."""

from __future__ import annotations

UNKNOWN = "\u2013"


def seconds(value: float | None) -> str:
    """Write "0.3 s", "12 s", "2 min 5 s", "1 h 3 min"; a dash where it is not known."""
    if value is None:
        return UNKNOWN
    if value < 9.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def rate(value: float | None) -> str:
    """Write "0", "7.2", "38", "1240"; a dash where it is not known."""
    if value is None:
        return UNKNOWN
    return f"{value:.0f}" if value >= 9.95 or value == 0 else f"{value:.1f}"


def count(value: int, one: str, many: str | None = None) -> str:
    """Write "1 model", "3 models"."""
    return f"{value} {one if value == 1 else many or one + 's'}"
