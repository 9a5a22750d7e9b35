"""Which of a model's placements are right for those who wait for it now."""

from __future__ import annotations

from partage.domain import Placement
from partage.policy.state import ModelState


def suitable_placements(model: ModelState) -> list[Placement]:
    """Those with room for the longest context asked for, as far as the machine has any; the best first.

    The one it is parked in is the best of all: nothing has to be loaded.
    """
    allowed = [
        one
        for one in model.profile.placements
        if model.too_large_bytes is None or one.total_bytes < model.too_large_bytes
    ]
    if model.parked is not None:
        parked = model.parked.placement
        if model.parked.serving:
            return [parked]
        allowed = [parked, *(one for one in allowed if one != parked)]
    for need in sorted(model.queue.contexts, reverse=True):
        enough = [one for one in allowed if one.settings.context_tokens >= need]
        if enough:
            return enough
    return allowed
