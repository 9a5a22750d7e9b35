"""Which variant of a model to pull: the best whose memory fits this machine beside the models of the configuration.

The same arithmetic as the hub's: policy/placements.py with the wishes of the configuration. Larger variants answer better,
up to Q8_0; one that runs wholly on the fastest device goes before a larger one that does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from partage.config import Config
from partage.domain import Anatomy, Device, Model, Placement
from partage.errors import CannotFit, ModelFileError, ModelNotFound
from partage.hub.profiles import Profiles
from partage.models import anatomy as facts
from partage.models import names
from partage.models.shelves import Shelves
from partage.models.variants import Variant
from partage.models.workshop import Workshop
from partage.quantities import format_bytes
from partage.serve.devices import equipment_of
from partage.serve.hub_service import profiles_of

FAST = 0.9
"""A placement of this speed, relative to the best there is, needs no slower device."""
UNKNOWN_FACTOR = 1.3
UNKNOWN_BYTES = 300 << 20
"""What a model needs whose header nobody has seen: its weights, and so much on top."""


@dataclass(frozen=True, slots=True)
class FitChoice:
    name: str
    lines: tuple[str, ...]
    """Why, for people."""


@dataclass(frozen=True, slots=True)
class _Weighed:
    variant: Variant
    needs_bytes: int
    speed: float
    """0: it does not fit."""
    verdict: str


async def fitting(config: Config, workshop: Workshop, name: str, *, insecure: bool = False) -> FitChoice:
    """Raises CannotFit, NotFound, PullError, ConfigError."""
    devices = equipment_of(config).devices
    beside = _configured(config, workshop.shelves, devices, names.canonical(name))
    left = [_less(device, sum(placement.bytes_on(device.id) for placement in beside.values())) for device in devices]
    variants = await workshop.variants(name, insecure=insecure)
    return choose(name, variants, left, profiles_of(config, left), tuple(beside))


def choose(
    name: str, variants: Sequence[Variant], devices: Sequence[Device], profiles: Profiles, beside: Sequence[str]
) -> FitChoice:
    """`variants`: the largest first; `devices`: what is left of them. Raises CannotFit."""
    eight_bits = any(variant.quantisation == "Q8_0" for variant in variants)
    weighed = [_weigh(variant, devices, profiles, eight_bits=eight_bits) for variant in variants]
    usable = [one for one in weighed if one.speed > 0]
    room = ", ".join(f"{device.name} {format_bytes(device.budget_bytes)}" for device in devices)
    beside_them = f" beside {', '.join(beside)}" if beside else ""
    lines = [f"room{beside_them}: {room}"]
    lines += [
        f"  {one.variant.quantisation:8} {format_bytes(one.variant.size_bytes):>10} on disk, "
        f"{format_bytes(one.needs_bytes):>10} in memory: {one.verdict}"
        for one in weighed
    ]
    if not usable:
        least = min(weighed, key=lambda one: one.needs_bytes)
        raise CannotFit("\n".join([f"no variant of {name} fits this machine", *lines]), needs_bytes=least.needs_bytes)
    fast = [one for one in usable if one.speed >= FAST]
    chosen = fast[0] if fast else max(usable, key=lambda one: one.speed)
    why = "the best that fits" if fast else "the fastest of those that fit; none fits the fastest device alone"
    return FitChoice(chosen.variant.name, (*lines, f"chosen: {chosen.variant.name}, {why}"))


def _weigh(variant: Variant, devices: Sequence[Device], profiles: Profiles, *, eight_bits: bool) -> _Weighed:
    if eight_bits and variant.quantisation in facts.UNQUANTISED:
        return _Weighed(variant, variant.size_bytes, 0.0, "answers no better than Q8_0")
    if variant.anatomy is None:
        needs = int(variant.size_bytes * UNKNOWN_FACTOR) + UNKNOWN_BYTES
        place = next((device for device in devices if needs <= device.budget_bytes), None)
        verdict = f"fits {place.name} (about; its header is not known yet)" if place else "does not fit"
        return _Weighed(variant, needs, 1.0 if place else 0.0, verdict)
    news = profiles.learn(_as_model(variant, variant.anatomy), None)
    assert news is not None, "every variant has a name of its own"
    best = news.profile.placements[0]
    short = [device for device in devices if best.bytes_on(device.id) > device.budget_bytes]
    if short:
        return _Weighed(variant, best.total_bytes, 0.0, f"does not fit {short[0].name}")
    where = " and ".join(device.name for device in devices if best.bytes_on(device.id))
    context = best.settings.context_tokens
    return _Weighed(
        variant, best.total_bytes, best.speed, f"fits {where} with {best.settings.slots} x {context} tokens of context"
    )


def _as_model(variant: Variant, anatomy: Anatomy) -> Model:
    return Model(
        name=variant.name,
        digest=f"{variant.quantisation}:{variant.size_bytes}",
        path="",
        anatomy=anatomy,
        capabilities=facts.capabilities(anatomy, "", projector=False),
        size_bytes=variant.size_bytes,
    )


def _configured(config: Config, shelves: Shelves, devices: Sequence[Device], asked: str) -> dict[str, Placement]:
    """What the models of the configuration that are here take, each placed as it is wished."""
    profiles = profiles_of(config, devices)
    found: dict[str, Placement] = {}
    for name in config.models:
        try:
            model = shelves.get(name)
        except (ModelNotFound, ModelFileError):
            continue
        if model.name != asked and (news := profiles.learn(model, None)) is not None:
            found[model.name] = news.profile.placements[0]
    return found


def _less(device: Device, taken_bytes: int) -> Device:
    return replace(device, total_bytes=max(device.reserve_bytes, device.total_bytes - taken_bytes))
