"""What the hub shows of itself to the API: frozen pictures, made when asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from partage.domain import Model

ResidentState: TypeAlias = Literal["loading", "ready", "draining", "stopping", "paused", "parking", "parked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Where one request's time went, in seconds on the hub's clock."""

    queued_s: float = 0.0
    """From arrival until it got a slot, the load included."""
    load_s: float = 0.0
    """Of that, spent while its own model was loading."""
    first_output_s: float | None = None
    """From arrival to the first piece of the answer (TTFT)."""
    total_s: float = 0.0


@dataclass(frozen=True, slots=True)
class QueuePosition:
    position: int
    """1 is next."""
    predicted_wait_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidentView:
    """A model that is in memory, on its way in, or on its way out."""

    model: Model
    size_bytes: int
    device_bytes: int
    """Of them, on GPUs."""
    context_tokens: int
    """Per slot."""
    expires_in_s: float | None
    """None: never."""
    state: ResidentState
    slots: int
