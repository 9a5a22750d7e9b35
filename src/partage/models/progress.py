"""What a pull, push or create is doing at the moment."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PullProgress:
    """One step; bytes where they can be counted."""

    status: str
    digest: str = ""
    total_bytes: int | None = None
    completed_bytes: int | None = None
