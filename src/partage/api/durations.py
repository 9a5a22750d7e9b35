"""Durations as Go writes them ("1h30m", "300ms"), and keep_alive in all its forms."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta

from partage.errors import InvalidRequest

UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_TERM = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")

FOR_EVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def parse_duration_s(text: str) -> float:
    """Seconds of "10m", "1h30m", "-1s", "0". Raises ValueError. Source: Go's time.ParseDuration."""
    sign, rest = (-1.0, text[1:]) if text.startswith("-") else (1.0, text.removeprefix("+"))
    if rest == "0":
        return 0.0
    terms = _TERM.findall(rest)
    if not terms or "".join(number + unit for number, unit in terms) != rest:
        raise ValueError(text)
    return sign * math.fsum(float(number) * UNITS_S[unit] for number, unit in terms)


def keep_alive_s(value: float | str | None) -> float | None:
    """Seconds to keep the model: 0 means unload, negative for ever, None the server's default.

    A number is seconds. A bare number as text ("300", "-1") is taken too: people write it in .env files.
    """
    match value:
        case None:
            return None
        case str():
            try:
                seconds = float(value) if re.fullmatch(r"[+-]?[0-9]+", value) else parse_duration_s(value)
            except ValueError:
                message = f'keep_alive: "{value[:40]}" is no duration; write seconds (300), "5m", "1h30m", 0 or -1'
                raise InvalidRequest(message, field="keep_alive") from None
        case _:
            seconds = float(value)
    return -1.0 if seconds < 0 else seconds


def rfc3339(moment: datetime) -> str:
    """`moment` must be UTC."""
    return moment.isoformat()[:-6] + "Z"


def now_rfc3339() -> str:
    return rfc3339(datetime.now(UTC))


def rfc3339_in(seconds: float | None) -> str:
    """When so many seconds have passed; None: never."""
    if seconds is None:
        return rfc3339(FOR_EVER)
    try:
        return rfc3339(datetime.now(UTC) + timedelta(seconds=seconds))
    except OverflowError:
        return rfc3339(FOR_EVER)


def nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
