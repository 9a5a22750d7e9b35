"""How many bytes an engine will need: arithmetic over a GGUF header and the launch settings, before anything is loaded.

Follows llama.cpp's own allocation (src/llama-model.cpp, llama-kv-cache*.cpp, llama-memory-recurrent.cpp), checked against
what it logs by bench/footprint_check.py. The engine's measured figure replaces the estimate once there is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from partage.domain import Anatomy, Footprint, LaunchSettings
from partage.policy.layers import (
    attends,
    cells_of,
    head_lengths,
    keeps_cache,
    layer_of,
    number,
    recurrent_state_bytes,
    recurs,
)
from partage.policy.scratch import compute_bytes

MIB = 1 << 20
BYTES_PER_VALUE = {
    "f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32, "q5_1": 24 / 32, "q5_0": 22 / 32, "q4_1": 20 / 32,
    "q4_0": 18 / 32, "iq4_nl": 18 / 32,
}  # fmt: skip
REPACKED_TYPES = frozenset({"Q4_0", "Q4_K", "Q2_K", "IQ4_NL", "MXFP4"})
"""Weights that the CPU backend rearranges at load with AVX2, Q2_K with AVX-512 (ggml-cpu/repack.cpp; all but Q2_K measured)."""
REPACKED_ROWS = 8
"""At a time; a matrix that has not as many stays as it is."""

HOST_OVERHEAD_BYTES = 100 * MIB
"""Child process: 25 MiB of interpreter, 11-44 MiB of tokenizer and threads, and what it grows by once it serves (measured:
an embedder that holds 35 MiB of buffers settles at 129 MiB resident)."""
CUDA_OVERHEAD_BYTES = 600 * MIB
"""Device context, kernels and cuBLAS workspace of one process, until it has been measured on the device at hand."""


@dataclass(frozen=True, slots=True)
class LayerBytes:
    """What must lie where the layer lies."""

    weights: int
    repack: int
    kv: int


@dataclass(frozen=True, slots=True)
class Breakdown:
    """An engine's bytes in the pieces in which they can be spread over devices."""

    layers: tuple[LayerBytes, ...]
    input_bytes: int
    """The token embedding: stays on the host when layers go to a GPU."""
    head_bytes: int
    """Output matrix and norm; for tied embeddings a second copy of the input where they are on different devices."""
    head_repack_bytes: int
    tied: bool
    compute_bytes: int
    output_bytes: int
    projector_bytes: int


def estimate(
    anatomy: Anatomy,
    settings: LaunchSettings,
    projector: Anatomy | None = None,
    kind: Literal["host", "cuda"] = "host",
    overhead_bytes: int | None = None,
) -> Footprint:
    """Bytes of the whole engine on one device of that kind; `overhead_bytes` of the process there, where it was measured."""
    pieces = breakdown(anatomy, settings, projector)
    return share_of(
        pieces,
        range(anatomy.layers),
        kind,
        with_input=kind == "host",
        with_head=True,
        settings=settings,
        overhead_bytes=overhead_bytes,
    )


def share_of(
    pieces: Breakdown,
    layers: range,
    kind: Literal["host", "cuda"],
    *,
    with_input: bool,
    with_head: bool,
    settings: LaunchSettings,
    overhead_bytes: int | None = None,
) -> Footprint:
    """Bytes on one device that holds these layers, and perhaps the two ends of the model."""
    on_host = kind == "host"
    weights = sum(pieces.layers[index].weights for index in layers)
    repack = sum(pieces.layers[index].repack for index in layers)
    if with_input:
        weights += pieces.input_bytes
    if with_head:
        weights += pieces.head_bytes + (pieces.input_bytes if pieces.tied and not with_input else 0)
        repack += pieces.head_repack_bytes
    if (
        on_host
    ):  # read, not mapped (engine/launch.py): only the rearranged copy stays, and the matrix that is also looked up in
        weights -= repack - (pieces.head_repack_bytes if with_head and pieces.tied else 0)
    return Footprint(
        weights_bytes=weights,
        kv_bytes=sum(pieces.layers[index].kv for index in layers),
        compute_bytes=pieces.compute_bytes,
        output_bytes=pieces.output_bytes if on_host else 0,
        projector_bytes=pieces.projector_bytes if with_head else 0,
        repack_bytes=repack if on_host else 0,
        cache_bytes=settings.prompt_cache_bytes if on_host else 0,
        overhead_bytes=(HOST_OVERHEAD_BYTES if on_host else CUDA_OVERHEAD_BYTES)
        if overhead_bytes is None
        else overhead_bytes,
    )


def breakdown(anatomy: Anatomy, settings: LaunchSettings, projector: Anatomy | None = None) -> Breakdown:
    weights = [0] * anatomy.layers
    repack = [0] * anatomy.layers
    input_bytes = head_bytes = head_repack = input_repack = 0
    tied = True
    for tensor in anatomy.tensors:
        in_rows = len(tensor.shape) >= 2 and tensor.shape[1] % REPACKED_ROWS == 0
        rearranged = tensor.size_bytes if tensor.type in REPACKED_TYPES and in_rows else 0
        layer = layer_of(tensor.name)
        if layer is not None and layer < anatomy.layers:
            weights[layer] += tensor.size_bytes
            repack[layer] += rearranged
        elif tensor.name.startswith(("token_embd", "token_types", "position_embd")):
            input_bytes += tensor.size_bytes
            input_repack += rearranged
        else:
            head_bytes += tensor.size_bytes
            head_repack += rearranged
            tied = tied and tensor.name != "output.weight"
    tied = tied and keeps_cache(anatomy)
    return Breakdown(
        layers=tuple(
            LayerBytes(weights[layer], repack[layer], kv_bytes(anatomy, settings, layer))
            for layer in range(anatomy.layers)
        ),
        input_bytes=input_bytes,
        head_bytes=head_bytes,
        head_repack_bytes=head_repack + (input_repack if tied else 0),
        tied=tied,
        compute_bytes=compute_bytes(anatomy, settings),
        output_bytes=4
        * settings.slots
        * (anatomy.vocab_tokens + (anatomy.embedding_length if settings.embedding else 0)),
        projector_bytes=projector_bytes(projector),
    )


def kv_bytes(anatomy: Anatomy, settings: LaunchSettings, layer: int) -> int:
    """Cache of one layer for all slots: whole context, sliding window, latent, recurrent state, or none.

    Source: llama_kv_cache and llama_kv_cache_iswa (the window and a micro-batch, padded to 256), llama_memory_recurrent.
    """
    if not keeps_cache(anatomy):
        return 0
    state = recurrent_state_bytes(anatomy) * settings.slots if recurs(anatomy, layer) else 0
    if not attends(anatomy, layer):
        return state
    key, value = head_lengths(anatomy, layer)
    values = anatomy.heads_kv[layer] * value
    if value and not settings.flash_attention:  # transposed, and then as long in every layer
        values = max(heads * head_lengths(anatomy, at)[1] for at, heads in enumerate(anatomy.heads_kv))
    of_keys = anatomy.heads_kv[layer] * key + number(anatomy, "attention.indexer.key_length")
    of_one = of_keys * BYTES_PER_VALUE[settings.kv_type_k] + values * BYTES_PER_VALUE[settings.kv_type_v]
    return int(cells_of(anatomy, settings, layer) * settings.slots * of_one) + state


def projector_bytes(projector: Anatomy | None) -> int:
    """Weights, and the scratch of one picture through the vision tower."""
    if projector is None:
        return 0
    patches = 2 * 1024
    return projector.weights_bytes + 4 * patches * (
        8 * projector.embedding_length + 2 * max(projector.feed_forward_length, default=0)
    )
