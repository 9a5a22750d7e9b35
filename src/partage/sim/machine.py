"""A simulated machine and what things cost on it: loads, prompts, tokens, and sharing a device.

The compute model is fluid: engines that serve share their device equally, and a batch of b streams makes each of them
1 + slowdown * (b - 1) times slower. The numbers come from live profiles (docs/policy.md says how to fit them).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from partage.domain import Device, Footprint, LaunchSettings, Placement
from partage.policy.events import ModelProfile
from partage.sim.workload import GB, SimModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    devices: Sequence[Device]
    load_bytes_per_s: float = 2.5 * GB
    load_overhead_s: float = 1.0
    stop_s: float = 0.2
    batch_slowdown: float = 0.15
    link_bytes_per_s: float = 10 * GB
    """Between RAM and a GPU: what parking an engine and bringing it back goes by."""

    def load_s(self, size_bytes: int) -> float:
        return self.load_overhead_s + size_bytes / self.load_bytes_per_s

    def profile(self, model: SimModel) -> ModelProfile:
        """One GPU that is large enough, else all of them, else the first with what it can hold, slowly."""
        settings = LaunchSettings(context_tokens=8192, slots=model.slots, threads=1, embedding=model.embedding)
        whole = Footprint(weights_bytes=model.size_bytes)
        places = [
            Placement(settings=settings, shares=((device.id, whole),))
            for device in self.devices
            if device.budget_bytes >= model.size_bytes
        ]
        total = sum(device.budget_bytes for device in self.devices)
        if not places and total >= model.size_bytes:
            shares = tuple(
                (device.id, Footprint(weights_bytes=-(-model.size_bytes * device.budget_bytes // total)))
                for device in self.devices
            )
            places.append(Placement(settings=settings, shares=shares, speed=0.95))
        return ModelProfile(
            model=model.name,
            placements=tuple(places),
            load_s=self.load_s(model.size_bytes),
            prefill_tokens_per_s=model.prefill_tokens_per_s,
            decode_tokens_per_s=model.decode_tokens_per_s,
            pinned=model.pinned,
        )


def gpus(*sizes_bytes: float, parks: bool = False, **costs: float) -> Machine:
    devices = [
        Device(id=f"gpu{index}", kind="cuda", name=f"gpu{index}", index=index, total_bytes=int(size), parks=parks)
        for index, size in enumerate(sizes_bytes)
    ]
    return Machine(devices=devices, **costs)
