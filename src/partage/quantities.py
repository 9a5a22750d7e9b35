"""Sizes, durations and shares as people write them: "6GiB", "512 MB", "10m", "1h30m", "90%"."""

from __future__ import annotations

import re

from partage.errors import InvalidRequest

LEAST_BYTES = 64 << 10
"""Of memory or a file that somebody asks for: a plain number below this was meant in GiB."""

_BYTES = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)(?:B?)\s*", re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_DURATION_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_UNIT_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_bytes(text: str | float) -> int:
    """Bytes of "6GiB" (binary), "6GB" (decimal), "6G" (binary, as Docker reads it) or a plain number.

    Raises InvalidRequest on anything else.
    """
    if isinstance(text, int | float):
        return int(text)
    match = _BYTES.fullmatch(text)
    if match is None:
        raise InvalidRequest(f"{text!r} is not a size; write for example 6GiB or 512MiB")
    number, prefix, binary = match.groups()
    decimal = bool(prefix) and not binary and text.strip().upper().endswith("B")
    return int(float(number) * (1000 if decimal else 1024) ** _POWERS[prefix.upper()])


def format_bytes(count: float) -> str:
    """Binary units with three significant digits: "6.00 GiB", "512 MiB", "0 B"."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(count) < 1024 or unit == "TiB":
            digits = 0 if unit == "B" or abs(count) >= 100 else 1 if abs(count) >= 10 else 2
            return f"{count:.{digits}f} {unit}"
        count /= 1024
    raise AssertionError


def parse_duration_s(text: str | float) -> float:
    """Seconds of a Go duration ("300ms", "1h30m", "-1m") or of a plain number of seconds.

    Raises InvalidRequest on anything else.
    """
    if isinstance(text, int | float):
        return float(text)
    stripped = text.strip()
    sign = -1.0 if stripped.startswith("-") else 1.0
    body = stripped.lstrip("+-")
    if body == "0":
        return 0.0
    parts = list(_DURATION_PART.finditer(body))
    if not parts or "".join(part.group(0) for part in parts) != body:
        raise InvalidRequest(f'{text!r} is not a duration; write for example "30s", "10m" or "1h30m"')
    return sign * sum(float(part.group(1)) * _UNIT_S[part.group(2)] for part in parts)


def parse_share(text: str | float) -> float:
    """0.9 of "90%" or of a plain number. Raises InvalidRequest on anything else."""
    if isinstance(text, int | float):
        return float(text)
    number, percent, rest = text.strip().partition("%")
    try:
        if not rest:
            return float(number) / (100 if percent else 1)
    except ValueError:
        pass
    raise InvalidRequest(f'{text!r} is not a share; write for example "90%" or 0.9')
