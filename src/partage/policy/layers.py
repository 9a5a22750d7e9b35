"""What kind of memory each layer keeps: the whole context, a sliding window, or a recurrent state.

GGUF headers give the window but, for most architectures, not which layers use it: llama.cpp knows (llama-model.cpp,
`set_swa_pattern`), and so must we. What is not in the table is counted as seeing the whole context: too much, never too little.
"""

from __future__ import annotations

from partage.domain import Anatomy

_DENSE_EVERY: dict[str, tuple[int, bool]] = {
    "gemma2": (2, False),
    "gemma3": (6, False),
    "gemma3n": (5, False),
    "gpt-oss": (2, False),
    "cohere2": (4, False),
    "llama4": (4, False),
    "exaone4": (4, False),
    "olmo2": (4, False),
    "smallthinker": (4, True),
}
"""Architecture: every how many layers one sees the whole context, and whether it is the first of them (else the last)."""


def sliding_window_tokens(anatomy: Anatomy) -> int:
    """0: none, or one that llama.cpp does not use to save memory."""
    if anatomy.architecture not in _DENSE_EVERY:
        return 0
    return number(anatomy, "attention.sliding_window")


def sees_whole_context(anatomy: Anatomy, layer: int) -> bool:
    if not sliding_window_tokens(anatomy):
        return True
    every, first = _DENSE_EVERY[anatomy.architecture]
    return layer % every == (0 if first else every - 1)


def recurrent_state_bytes(anatomy: Anatomy, layer: int) -> int:
    """State of one slot in one layer of a Mamba-like or RWKV-like model, always kept as F32."""
    if anatomy.heads_kv[layer] and anatomy.architecture not in _BOTH_IN_EVERY_LAYER:
        return 0
    width = anatomy.embedding_length
    if head_size := number(anatomy, "wkv.head_size"):
        return 4 * width * (head_size + (number(anatomy, "token_shift_count") or 2))
    if kernel := number(anatomy, "shortconv.l_cache"):
        return 4 * (kernel - 1) * width
    inner, state = number(anatomy, "ssm.inner_size"), number(anatomy, "ssm.state_size")
    kernel, groups = number(anatomy, "ssm.conv_kernel"), number(anatomy, "ssm.group_count")
    return 4 * (max(0, kernel - 1) * (inner + 2 * groups * state) + state * inner)


_BOTH_IN_EVERY_LAYER = frozenset({"falcon-h1"})


def number(anatomy: Anatomy, key: str) -> int:
    """A whole number of the header under the architecture's prefix; 0 where it is not there."""
    value = anatomy.metadata.get(f"{anatomy.architecture}.{key}")
    return value if isinstance(value, int) else 0
