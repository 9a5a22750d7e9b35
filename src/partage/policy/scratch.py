"""The compute buffer: what llama.cpp's graph holds at once for one micro-batch, at the moment when it holds most.

ggml-alloc.c gives a tensor's room back when its last reader has run, and takes the first hole that is large enough; the
sums below name the tensors that are alive together at each layer's worst moment (src/llama-graph.cpp: build_attn_mha,
build_ffn, build_moe_ffn; src/models/*.cpp). All are F32, one row for each token of the micro-batch, so everything is
counted in values per token; `width` is the model's (hidden state, its norm, residuals, what waits to be added).
Compared with what llama.cpp says for each kind of model by bench/footprint_check.py; docs/policy.md has the table.
"""

from __future__ import annotations

from collections.abc import Mapping

from partage.domain import Anatomy, LaunchSettings
from partage.policy.layers import (
    attends,
    cells_of,
    context_cells,
    head_lengths,
    is_latent,
    keeps_cache,
    layer_of,
    number,
    recurrent_state_bytes,
    recurs,
    sliding_window_tokens,
)

_WIDTHS_MORE = {"cohere2": 1, "falcon": 1, "llama4": 1, "phi2": 1, "smallthinker": 2}
"""What waits beside the feed-forward part: attention that runs parallel to it, a router that read the layer's input."""

Shapes = Mapping[str, tuple[int, ...]]


def compute_bytes(anatomy: Anatomy, settings: LaunchSettings) -> int:
    sizes = settings.batch_tokens, settings.micro_batch_tokens
    batch = max(sizes) if settings.embedding else min(sizes)  # as engine/launch.py has it
    layers = _shapes_by_layer(anatomy)
    if not keeps_cache(anatomy):
        return _encoder(anatomy, settings, layers, batch)
    most = max(
        (_of_layer(anatomy, settings, layer, layers[layer], batch) for layer in range(anatomy.layers)), default=0
    )
    if settings.embedding:  # every token is an output then, and a model that can chat also says what might follow each
        most = max(most, 4 * batch * (anatomy.vocab_tokens + 5 * anatomy.embedding_length))
    return most + _masks(anatomy, settings, batch)


def _of_layer(anatomy: Anatomy, settings: LaunchSettings, layer: int, shapes: Shapes, batch: int) -> int:
    parts = [4 * batch * feed_forward_values(anatomy, shapes)]
    if attends(anatomy, layer):
        scores = 0 if settings.flash_attention else context_cells(settings) * anatomy.heads[layer]
        parts.append(4 * batch * (attention_values(anatomy, layer) + scores))
    if recurs(anatomy, layer):
        parts.append(_scan(anatomy, settings, batch))
    return max(parts)


def _masks(anatomy: Anatomy, settings: LaunchSettings, batch: int) -> int:
    """One for the layers that see the whole context, one for those with a window (build_attn_inp_kq_mask)."""
    attending = {cells_of(anatomy, settings, layer) for layer in range(anatomy.layers) if attends(anatomy, layer)}
    if sliding_window_tokens(anatomy) and attending == {context_cells(settings)}:
        attending_cells = 2 * context_cells(settings)  # both are made, though they are as large as each other
    else:
        attending_cells = sum(attending)
    return attending_cells * batch * (2 if settings.flash_attention else 4)


def attention_values(anatomy: Anatomy, layer: int) -> int:
    """Queries before and after their rotation, keys, values, and the output beside them."""
    width = anatomy.embedding_length
    heads, heads_kv = anatomy.heads[layer], anatomy.heads_kv[layer]
    if is_latent(anatomy):
        return _latent_values(anatomy, heads)
    key, value = head_lengths(anatomy, layer)
    return 3 * width + 3 * heads * key + heads_kv * (key + value)


def _latent_values(anatomy: Anatomy, heads: int) -> int:
    """The query, its rotated part, its part in the space of the latent, and the two joined (models/deepseek2.cpp)."""
    latent, rotated = number(anatomy, "attention.kv_lora_rank"), number(anatomy, "rope.dimension_count")
    width, query = anatomy.embedding_length, number(anatomy, "attention.q_lora_rank")
    of_head = number(anatomy, "attention.key_length_mla") + rotated + latent + (latent + rotated)
    return heads * of_head + 2 * width + (3 * max(width, query) if query else 2 * width)


def feed_forward_values(anatomy: Anatomy, shapes: Shapes) -> int:
    """The widest of the dense part, the experts that one token visits, and the shared expert."""
    width = anatomy.embedding_length
    dense = _gated(shapes, "ffn_up.weight", "ffn_gate.weight", "ffn_down.weight")
    shared = _gated(shapes, "ffn_up_shexp.weight", "ffn_gate_shexp.weight", "ffn_down_shexp.weight")
    of_layers = number(anatomy, "embedding_length_per_layer_input") * anatomy.layers  # Gemma: an input for each layer
    if anatomy.architecture == "gemma3n":  # four streams, predicted and corrected
        return 15 * width + dense + of_layers
    aside = 5 + _WIDTHS_MORE.get(anatomy.architecture, 0)
    return aside * width + 2 * of_layers + max(dense, shared, _experts(anatomy, shapes))


def _gated(shapes: Shapes, up: str, gate: str, down: str) -> int:
    """Gate, rise and their product; one that is not gated is bent in place."""
    if up not in shapes and gate not in shapes:
        return 0
    rows = shapes.get(up, shapes.get(gate, (0, 0)))[1]
    inner = shapes.get(down, (rows,))[0]
    return 3 * inner if gate in shapes or rows == 2 * inner else rows


def _experts(anatomy: Anatomy, shapes: Shapes) -> int:
    """Each visited expert's gate, rise and product; their outputs use the room of the first two, if it is enough."""
    if "ffn_down_exps.weight" not in shapes:
        return 0
    width, used = anatomy.embedding_length, number(anatomy, "expert_used_count")
    inner = shapes["ffn_down_exps.weight"][0]
    if "ffn_gate_exps.weight" in shapes or "ffn_gate_up_exps.weight" in shapes:
        return used * (3 * inner + (0 if 2 * inner >= width else width))
    return used * (inner + width)


def _scan(anatomy: Anatomy, settings: LaunchSettings, batch: int) -> int:
    """A recurrent layer: its projections for each token, and every slot's state beside the new one."""
    width, inner = anatomy.embedding_length, number(anatomy, "ssm.inner_size")
    state = settings.slots * recurrent_state_bytes(anatomy)
    if number(anatomy, "wkv.head_size"):
        widths = (
            19 if anatomy.architecture.endswith("7") else 14
        )  # RWKV 7 mixes more, and keeps the first layer's values
        return 4 * batch * widths * width + 3 * settings.slots * 4 * width * number(anatomy, "wkv.head_size")
    grouped = 2 * number(anatomy, "ssm.group_count") * number(anatomy, "ssm.state_size")
    if grouped:
        return 4 * batch * (5 * width + 5 * inner + 2 * grouped) + state * 7 // 4
    return 4 * batch * 5 * (width + inner) + state


def _encoder(anatomy: Anatomy, settings: LaunchSettings, layers: list[dict[str, tuple[int, ...]]], batch: int) -> int:
    """Reads an input whole; the keys and values of flash attention are copied to F16."""
    width, heads = anatomy.embedding_length, max(anatomy.heads, default=0)
    attention = 17 * width // 2 if settings.flash_attention else 9 * width + batch * heads
    most = max([attention, *(feed_forward_values(anatomy, shapes) for shapes in layers)])
    masks = (2 if sliding_window_tokens(anatomy) else 1) * batch * batch * (2 if settings.flash_attention else 4)
    return 4 * batch * most + masks


def _shapes_by_layer(anatomy: Anatomy) -> list[dict[str, tuple[int, ...]]]:
    found: list[dict[str, tuple[int, ...]]] = [{} for _ in range(anatomy.layers)]
    for tensor in anatomy.tensors:
        layer = layer_of(tensor.name)
        if layer is not None and layer < anatomy.layers:
            found[layer][tensor.name.split(".", 2)[2]] = tensor.shape
    return found
