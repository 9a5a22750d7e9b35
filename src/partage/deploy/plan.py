"""`partage plan`: will these models fit together on this machine, with how many slots and what context; if not, what would.

The bytes are the estimator's (policy/footprint.py), the ways to place a model the hub's own (policy/placements.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from partage.deploy.figures import BITS_PER_WEIGHT, FIGURES, anatomy_of
from partage.deploy.wanted import Wanted, from_figure
from partage.device.host import engine_threads
from partage.domain import Device, DeviceId, Footprint, Placement
from partage.hub.profiles import CHAT_BATCH_TOKENS, DEFAULT_SLOTS, EMBEDDING_BATCH_TOKENS
from partage.json_value import JsonObject, JsonValue
from partage.models.names import canonical
from partage.policy.placements import Wish, placements_for
from partage.quantities import format_bytes

MOST_SLOTS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How every model should be loaded."""

    context_tokens: int = 4096
    slots: int = DEFAULT_SLOTS
    kv_type: str = "f16"
    gpus: Mapping[str, tuple[DeviceId, ...]] = field(default_factory=dict[str, tuple[DeviceId, ...]])
    """Model (its full name) -> the GPUs that the configuration gives it."""

    def wish(self, wanted: Wanted, threads: int) -> Wish:
        return Wish(
            context_tokens=self.context_tokens,
            least_context_tokens=min(2048, self.context_tokens),
            slots=self.slots,
            threads=threads,
            batch_tokens=EMBEDDING_BATCH_TOKENS if wanted.embedding else CHAT_BATCH_TOKENS,
            kv_type_k=self.kv_type,
            kv_type_v=self.kv_type,
            embedding=wanted.embedding,
            gpus=self.gpus.get(canonical(wanted.name)),
        )


@dataclass(frozen=True, slots=True)
class Row:
    wanted: Wanted
    placement: Placement
    """Where nothing fits: the smallest there is."""
    fits: bool
    as_wished: bool
    """On the GPUs where there are any, with the context and slots that were asked for."""
    why: str
    """Of several GPUs these: a clause; empty where there was no choice."""


@dataclass(frozen=True, slots=True)
class Plan:
    rows: tuple[Row, ...]
    devices: tuple[Device, ...]
    terms: Terms

    @property
    def fits(self) -> bool:
        return all(row.fits for row in self.rows)

    @property
    def as_wished(self) -> bool:
        return all(row.as_wished for row in self.rows)

    def used_bytes(self, device: DeviceId) -> int:
        """The peak: everything loaded at once, every slot in use."""
        return sum(row.placement.bytes_on(device) for row in self.rows if row.fits)


def plan(models: Sequence[Wanted], devices: Sequence[Device], terms: Terms) -> Plan:
    """Place the largest first, each where the hub would place it beside those before it."""
    left = {device.id: device.budget_bytes for device in devices}
    rows: dict[str, Row] = {}
    for wanted in sorted(models, key=lambda one: -one.anatomy.weights_bytes):
        row = _placed(wanted, devices, left, terms)
        rows[wanted.name] = row
        for device in left if row.fits else ():
            left[device] -= row.placement.bytes_on(device)
    return Plan(tuple(rows[wanted.name] for wanted in models), tuple(devices), terms)


def _placed(wanted: Wanted, devices: Sequence[Device], left: Mapping[DeviceId, int], terms: Terms) -> Row:
    threads = engine_threads(max((device.cores for device in devices), default=2))
    wish = terms.wish(wanted, threads)
    remaining = [replace(device, total_bytes=max(0, left[device.id]), reserve_bytes=0) for device in devices]
    placement = placements_for(wanted.anatomy, wanted.projector, remaining, wish)[0]
    fits = all(placement.bytes_on(device) <= left[device] for device, _ in placement.shares)
    context = min(wish.context_tokens, wanted.anatomy.context_train_tokens or wish.context_tokens)
    has_gpu = wish.gpus != () and any(device.kind == "cuda" for device in devices)
    on_host = any(device == "host" for device, _ in placement.shares)
    whole = placement.settings.context_tokens == context and placement.settings.slots == wish.slots
    why = _why(placement, devices, left, wish) if fits else ""
    return Row(wanted, placement, fits, fits and whole and not (has_gpu and on_host), why)


def _why(placement: Placement, devices: Sequence[Device], left: Mapping[DeviceId, int], wish: Wish) -> str:
    gpus = [device for device in devices if device.kind == "cuda"]
    if len(gpus) < 2:
        return ""
    if wish.gpus is not None:
        return "the configuration says so"
    used = {device for device, _ in placement.shares}
    if "host" in used:
        return "no GPU has room for all of it"
    if len(used) > 1:
        return "too large for what is left on one GPU"
    others = ", ".join(f"{format_bytes(left[gpu.id])} on {gpu.name}" for gpu in gpus if gpu.id not in used)
    return f"most was left there: {format_bytes(sum(left[one] for one in used))}, against {others}"


def alone(plan_: Plan, wanted: Wanted) -> Row:
    """The model on the empty machine."""
    return _placed(wanted, plan_.devices, {one.id: one.budget_bytes for one in plan_.devices}, plan_.terms)


def most_slots(plan_: Plan, row: Row) -> int:
    """How many requests this model could serve at once in what the plan leaves free, at its context."""
    most = row.placement.settings.slots
    left = {device.id: device.budget_bytes - plan_.used_bytes(device.id) for device in plan_.devices}
    for device, _ in row.placement.shares:
        left[device] += row.placement.bytes_on(device)
    where = {device for device, _ in row.placement.shares}
    devices = [device for device in plan_.devices if device.id in where]
    terms = replace(plan_.terms, context_tokens=row.placement.settings.context_tokens)
    for slots in range(most + 1, MOST_SLOTS + 1):
        tried = _placed(row.wanted, devices, left, replace(terms, slots=slots))
        if (
            not tried.fits
            or tried.placement.settings.slots != slots
            or {one for one, _ in tried.placement.shares} != where
        ):
            break
        most = slots
    return most


def instead(plan_: Plan) -> list[str]:
    """What would fit, smallest concession first; empty where all is as wished."""
    if plan_.as_wished:
        return []
    models = [row.wanted for row in plan_.rows]
    answers: list[str] = []
    for words, terms in _concessions(plan_.terms):
        if plan(models, plan_.devices, terms).as_wished:
            answers.append(f"all of them, with {words}")
            break
    answers += [words for words in (_smaller_files(plan_), _smaller_members(plan_)) if words]
    for row in plan_.rows:
        if not row.as_wished and alone(plan_, row.wanted).as_wished:
            answers.append(f"{row.wanted.name} by itself: the hub swaps it in and out beside the others")
    return answers


def _concessions(terms: Terms) -> Iterator[tuple[str, Terms]]:
    if terms.kv_type == "f16":
        yield "KV caches in q8_0", replace(terms, kv_type="q8_0")
    slots = terms.slots // 2
    while slots >= 1:
        yield f"{slots} slot{'s' if slots > 1 else ''} each", replace(terms, slots=slots)
        yield (
            f"{slots} slot{'s' if slots > 1 else ''} each and KV caches in q8_0",
            replace(terms, slots=slots, kv_type="q8_0"),
        )
        slots //= 2
    context = terms.context_tokens // 2
    while context >= 2048:
        words = f"a context of {context}, one slot each and KV caches in q8_0"
        yield words, replace(terms, context_tokens=context, slots=1, kv_type="q8_0")
        context //= 2


def _smaller_files(plan_: Plan) -> str:
    """The catalog models that did not fit, in the best quantisation with which everything does."""
    modest = replace(plan_.terms, slots=1, kv_type="q8_0")
    for words, terms in (("", plan_.terms), (", one slot each, KV caches in q8_0", modest)):
        for quantisation in sorted(BITS_PER_WEIGHT, key=lambda one: -BITS_PER_WEIGHT[one]):
            changed = [_requantised(row, quantisation) for row in plan_.rows]
            names = [new.name for new, row in zip(changed, plan_.rows, strict=True) if new is not row.wanted]
            if names and plan(changed, plan_.devices, terms).as_wished:
                return f"{', '.join(names)} in {quantisation}{words}"
    return ""


def _requantised(row: Row, quantisation: str) -> Wanted:
    wanted, figure = row.wanted, row.wanted.figure
    if figure is None or row.as_wished or wanted.embedding:
        return wanted
    if BITS_PER_WEIGHT[quantisation] >= BITS_PER_WEIGHT[wanted.quantisation]:
        return wanted
    return replace(wanted, anatomy=anatomy_of(figure, quantisation), quantisation=quantisation)


def _smaller_members(plan_: Plan) -> str:
    """For each catalog model that did not fit, the largest smaller one of its family with which everything does."""
    changed = [row.wanted for row in plan_.rows]
    names: list[str] = []
    for index, row in enumerate(plan_.rows):
        family = row.wanted.name.partition(":")[0]
        if row.as_wished or row.wanted.figure is None:
            continue
        members = [(name, one) for name, one in FIGURES.items() if name.partition(":")[0] == family]
        for name, figure in sorted(members, key=lambda member: -member[1].file_bytes):
            if figure.file_bytes < row.wanted.figure.file_bytes:
                changed[index] = from_figure(name, figure, figure.quantisation)
                if plan(changed, plan_.devices, plan_.terms).as_wished:
                    return ", ".join([*names, f"{name} instead of {row.wanted.name}"])
        if changed[index] is not row.wanted:
            names.append(f"{changed[index].name} instead of {row.wanted.name}")
    return ""


def footprint_of(row: Row) -> Footprint:
    """The parts of all its devices together; weights that the CPU has rearranged are weights."""
    parts = [footprint for _, footprint in row.placement.shares]
    return Footprint(
        weights_bytes=sum(part.weights_bytes + part.repack_bytes for part in parts),
        kv_bytes=sum(part.kv_bytes for part in parts),
        compute_bytes=sum(part.compute_bytes for part in parts),
        output_bytes=sum(part.output_bytes for part in parts),
        projector_bytes=sum(part.projector_bytes for part in parts),
        repack_bytes=0,
        cache_bytes=sum(part.cache_bytes for part in parts),
        overhead_bytes=sum(part.overhead_bytes for part in parts),
    )


def as_json(plan_: Plan) -> JsonObject:
    models: list[JsonValue] = []
    for row in plan_.rows:
        footprint = footprint_of(row)
        models.append(
            {
                "model": row.wanted.name,
                "from": row.wanted.origin,
                "fits": row.fits,
                "as_wished": row.as_wished,
                "why": row.why,
                "devices": {device: share.total_bytes for device, share in row.placement.shares},
                "context_tokens": row.placement.settings.context_tokens,
                "slots": row.placement.settings.slots,
                "gpu_layers": row.placement.settings.gpu_layers,
                "weights_bytes": footprint.weights_bytes,
                "kv_bytes": footprint.kv_bytes,
                "compute_bytes": footprint.compute_bytes,
                "projector_bytes": footprint.projector_bytes,
                "other_bytes": other_bytes(footprint),
                "total_bytes": footprint.total_bytes,
            }
        )
    devices: list[JsonValue] = [
        {
            "device": device.id,
            "name": device.name,
            "budget_bytes": device.budget_bytes,
            "reserve_bytes": device.reserve_bytes,
            "peak_bytes": plan_.used_bytes(device.id),
        }
        for device in plan_.devices
    ]
    return {
        "fits": plan_.fits,
        "as_wished": plan_.as_wished,
        "models": models,
        "devices": devices,
        "instead": list[JsonValue](instead(plan_)),
    }


def other_bytes(footprint: Footprint) -> int:
    return footprint.output_bytes + footprint.cache_bytes + footprint.overhead_bytes


def verdict(plan_: Plan) -> str:
    if plan_.as_wished:
        return "They fit together, as asked for."
    if plan_.fits:
        return "They fit together, but not as asked for: smaller contexts, fewer slots, or layers on the host."
    lacking = [row for row in plan_.rows if not row.fits]
    names = ", ".join(f"{row.wanted.name} (at least {format_bytes(row.placement.total_bytes)})" for row in lacking)
    return f"They do not fit together: no room for {names}."
