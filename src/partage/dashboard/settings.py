"""Where the dashboard listens, and whom it calls."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class DashboardSettings:
    hub_url: str
    documents_url: str
    rag_url: str
    api_key: str | None = field(default=None, repr=False)
    loopback: bool = True
    """Only this machine's browsers, by a local name: a page of somewhere else cannot reach it under its own."""
