"""The ways to load a model on this machine's devices, best first: one GPU, several, partly on the host, host alone.

Only what could fit an empty machine is proposed; whether it fits now is the ledger's question. A smaller context comes after
the wished one on the same device and before a slower device, because few requests need a long context and all need speed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from partage.domain import Anatomy, Device, DeviceId, Footprint, LaunchSettings, Placement
from partage.policy.footprint import Breakdown, breakdown, estimate, share_of

HOST_SLOWDOWN = 8.0
"""How much longer a layer takes on the host than on a GPU, roughly: memory bandwidth of both."""
LEAST_CONTEXT_TOKENS = 2048
HOST_BATCH_TOKENS = 32
"""A prompt is read in batches. A client that leaves is noticed at the end of the second from then, and a stream beside it
waits for each: on one core 64 tokens of even a tiny model take a quarter of a second. Measured against batches of 256, 32
cost a tenth of the reading speed of a 1B model, and a fifth of a 135M one's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How a model should be loaded if there is room: from the configuration, or the defaults."""

    context_tokens: int = 4096
    """Per slot; cut to what the model was trained for."""
    least_context_tokens: int = LEAST_CONTEXT_TOKENS
    """Never offered less than this (or the wish, if that is less)."""
    slots: int = 1
    threads: int = 1
    batch_tokens: int = 256
    kv_type_k: str = "f16"
    kv_type_v: str = "f16"
    flash_attention: bool = True
    prompt_cache_bytes: int = 0
    embedding: bool = False
    gpus: tuple[DeviceId, ...] | None = None
    """Only on these, as if the others were not there. None: any."""
    gpu_layers: int | None = None
    """So many, as llama.cpp counts them (the head included), 0 for none. None: as many as fit."""
    spread: bool = False
    """Over all GPUs even where one would do: more memory bandwidth, less room for others."""
    partial: bool = True
    """Layers that do not fit the GPU may stay on the host."""


def placements_for(
    anatomy: Anatomy, projector: Anatomy | None, devices: Sequence[Device], wish: Wish
) -> tuple[Placement, ...]:
    """Never empty where there is a device: where nothing fits, the smallest, to say how much is missing."""
    candidates = list(_candidates(anatomy, projector, devices, wish))
    budgets = {device.id: device.budget_bytes for device in devices}
    fitting = [one for one in candidates if _fits(one, budgets)]
    if fitting:
        return tuple(fitting)
    return tuple(sorted(candidates, key=lambda one: one.total_bytes)[:1])


def _fits(placement: Placement, budgets: dict[DeviceId, int]) -> bool:
    return all(placement.bytes_on(device) <= budgets[device] for device, _ in placement.shares)


def _candidates(
    anatomy: Anatomy, projector: Anatomy | None, devices: Sequence[Device], wish: Wish
) -> Iterator[Placement]:
    there = [one for one in devices if one.kind == "cuda"]
    allowed = [one for one in there if wish.gpus is None or one.id in wish.gpus]
    gpus = sorted(allowed, key=lambda one: (-one.budget_bytes, one.index))
    hosts = [one for one in devices if one.kind == "host"]
    contexts = _contexts(anatomy, wish)
    if wish.gpu_layers is None or wish.gpu_layers > anatomy.layers:
        yield from _whole(anatomy, projector, gpus, contexts, spread=wish.spread)
        if wish.partial and wish.gpu_layers is None and gpus and hosts:
            yield from _partial(anatomy, projector, gpus[0], hosts[0], _on_host(contexts[0]))
    elif wish.gpu_layers > 0 and gpus and hosts:
        for settings in contexts:
            pieces = breakdown(anatomy, _on_host(settings), projector)
            for gpu in gpus:
                yield _partly(pieces, anatomy.layers, wish.gpu_layers - 1, gpu, hosts[0], _on_host(settings))
    for settings in contexts:
        for host in hosts:
            clamped = _on_host(replace(settings, threads=max(1, min(settings.threads, host.cores or settings.threads))))
            yield Placement(
                settings=replace(clamped, gpu_layers=0) if there else clamped,
                shares=((host.id, estimate(anatomy, clamped, projector)),),
                speed=1 / HOST_SLOWDOWN if there else 1.0,
            )


def _whole(
    anatomy: Anatomy,
    projector: Anatomy | None,
    gpus: Sequence[Device],
    contexts: Sequence[LaunchSettings],
    *,
    spread: bool,
) -> Iterator[Placement]:
    """On one GPU, then over all of them; the other way round where that is wished."""
    alone = (
        Placement(
            settings=settings, shares=((gpu.id, estimate(anatomy, settings, projector, "cuda", gpu.overhead_bytes)),)
        )
        for settings in contexts
        for gpu in gpus
    )
    split = (_split(anatomy, projector, gpus, settings) for settings in contexts if len(gpus) > 1)
    yield from (*split, *alone) if spread else (*alone, *split)


def _contexts(anatomy: Anatomy, wish: Wish) -> list[LaunchSettings]:
    """The wish, then halves of it, then one slot: what gives up least comes first."""
    wished = min(wish.context_tokens, anatomy.context_train_tokens or wish.context_tokens)
    full = LaunchSettings(
        context_tokens=wished,
        slots=wish.slots,
        threads=wish.threads,
        batch_tokens=wish.batch_tokens,
        micro_batch_tokens=wish.batch_tokens,
        kv_type_k=wish.kv_type_k,
        kv_type_v=wish.kv_type_v,
        flash_attention=wish.flash_attention,
        prompt_cache_bytes=wish.prompt_cache_bytes,
        embedding=wish.embedding,
    )
    variants = [full]
    if wish.slots > 1:
        variants.append(replace(full, slots=1))
    context = wished // 2
    while context >= wish.least_context_tokens:
        variants.append(replace(full, context_tokens=context, slots=1))
        context //= 2
    return variants


def _on_host(settings: LaunchSettings) -> LaunchSettings:
    """The batch for where the host computes; an embedding model reads an input whole."""
    if settings.embedding:
        return settings
    tokens = min(settings.batch_tokens, HOST_BATCH_TOKENS)
    return replace(settings, batch_tokens=tokens, micro_batch_tokens=tokens)


def _split(anatomy: Anatomy, projector: Anatomy | None, gpus: Sequence[Device], settings: LaunchSettings) -> Placement:
    """Whole layers, in proportion to the budgets; the head goes with the last layers, the projector on the first GPU."""
    pieces = breakdown(anatomy, settings, projector)
    whole = sum(gpu.budget_bytes for gpu in gpus)
    shares: list[tuple[DeviceId, Footprint]] = []
    portions: list[float] = []
    start, budget_so_far = 0, 0
    for gpu in gpus:
        budget_so_far += gpu.budget_bytes
        last = gpu is gpus[-1]
        end = anatomy.layers if last else round(anatomy.layers * budget_so_far / max(1, whole))
        share = share_of(
            pieces,
            range(start, end),
            "cuda",
            with_input=False,
            with_head=last,
            settings=settings,
            overhead_bytes=gpu.overhead_bytes,
        )
        on_first = pieces.projector_bytes if gpu is gpus[0] else 0  # as mtmd takes the first that it sees
        shares.append((gpu.id, replace(share, projector_bytes=on_first)))
        portions.append((end - start) / max(1, anatomy.layers))
        start = end
    return Placement(settings=replace(settings, split=tuple(portions)), shares=tuple(shares), speed=0.95)


def _partial(
    anatomy: Anatomy, projector: Anatomy | None, gpu: Device, host: Device, settings: LaunchSettings
) -> Iterator[Placement]:
    """The last layers on the GPU, as llama.cpp counts them (gpu_layers includes the head)."""
    pieces = breakdown(anatomy, settings, projector)
    for quarters in (3, 2, 1):
        on_gpu = anatomy.layers * quarters // 4
        if 0 < on_gpu < anatomy.layers:
            yield _partly(pieces, anatomy.layers, on_gpu, gpu, host, settings)


def _partly(
    pieces: Breakdown, layers: int, on_gpu: int, gpu: Device, host: Device, settings: LaunchSettings
) -> Placement:
    first = layers - on_gpu
    share_gpu = share_of(
        pieces,
        range(first, layers),
        "cuda",
        with_input=False,
        with_head=True,
        settings=settings,
        overhead_bytes=gpu.overhead_bytes,
    )
    share_host = share_of(pieces, range(first), "host", with_input=True, with_head=False, settings=settings)
    portion = on_gpu / layers
    return Placement(
        settings=replace(settings, gpu_layers=on_gpu + 1),
        shares=((gpu.id, share_gpu), (host.id, share_host)),
        speed=1 / (portion + (1 - portion) * HOST_SLOWDOWN),
    )
