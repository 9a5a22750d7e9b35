"""What each layer keeps for a conversation: the whole context, a sliding window, a latent, a recurrent state, or nothing.

GGUF headers give the numbers but seldom say which layer does what: llama.cpp knows by architecture (src/models/*.cpp,
load_arch_hparams; llama_model::create_memory), and so must we. What is not in these tables is counted as keeping
everything its header speaks of: too much, never too little.
"""

from __future__ import annotations

from partage.domain import Anatomy, LaunchSettings

KEEPS_NOTHING = frozenset(
    {"bert", "jina-bert-v2", "jina-bert-v3", "nomic-bert", "nomic-bert-moe", "neo-bert", "eurobert", "modern-bert",
     "gemma-embedding", "gemma-embedding2", "dream", "llada", "llada-moe", "rnd1", "clef", "wavtokenizer-dec"}
)  # fmt: skip
"""Read their input whole, in one batch (create_memory: nullptr)."""

ALL_RECURRENT = frozenset({"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"})
"""llm_arch_is_recurrent."""
_BOTH_IN_EVERY_LAYER = frozenset({"falcon-h1"})
_BY_INTERVAL = frozenset({"qwen3next", "qwen35", "qwen35moe", "qwen4exp", "minimax-01"})
"""Say "head_count_kv" for all layers, although only every fourth of them attends."""
_BY_HEADS = frozenset(
    {"jamba", "plamo2", "granitehybrid", "lfm2", "lfm2moe", "nemotron_h", "nemotron_h_moe", "kimi-linear", "kimi-k3",
     "bailingmoe3", "glm5-next"}
)  # fmt: skip
"""Recurrent where "head_count_kv" is 0; Nemotron's layers without both are feed-forward alone."""

_DENSE_EVERY: dict[str, tuple[int, bool]] = {
    "afmoe": (4, False),
    "cohere2": (4, False),
    "cohere2moe": (4, True),
    "exaone-moe": (4, False),
    "exaone4": (4, False),
    "gemma-embedding": (6, False),
    "gemma-embedding2": (6, False),
    "gemma2": (2, False),
    "gemma3": (6, False),
    "gemma3n": (5, False),
    "gpt-oss": (2, False),
    "laguna": (4, True),
    "llama4": (4, False),
    "mellum": (4, False),
    "modern-bert": (3, True),
    "muse-glimmer": (4, False),
    "olmo2": (4, False),
    "plamo3": (8, False),
    "smallthinker": (4, True),
}
"""Architecture: every how many layers one sees the whole context, and whether it is the first of them (else the last), where
the header does not say it ("sliding_window_pattern", a number or a list)."""
_BY_LIST = frozenset({"gemma4", "granite_swa", "maple", "mimo2", "spark2-5", "step35"})
"""Their headers always list the layers."""
_OWN_WINDOW = {"llama4": 8192, "smallthinker": 4096}
"""Whatever the header says."""


def keeps_cache(anatomy: Anatomy) -> bool:
    return anatomy.architecture not in KEEPS_NOTHING


def attends(anatomy: Anatomy, layer: int) -> bool:
    """Whether the layer has keys and values in the cache (llama_hparams::has_kv and the filters of create_memory)."""
    if anatomy.architecture in ALL_RECURRENT or not anatomy.heads_kv[layer]:
        return False
    if anatomy.architecture in _BY_INTERVAL and _recurrent_by_interval(anatomy, layer):
        return False
    if anatomy.architecture == "gemma3n":
        return layer < 20  # the later layers use what the last of these keep
    if anatomy.architecture == "gemma4":
        return layer < anatomy.layers - number(anatomy, "attention.shared_kv_layers")
    return layer < anatomy.layers - number(anatomy, "nextn_predict_layers")  # the drafting head is not used


def recurs(anatomy: Anatomy, layer: int) -> bool:
    """Whether the layer carries a state. An unknown architecture that speaks of one has it wherever it may be."""
    architecture = anatomy.architecture
    if architecture in ALL_RECURRENT or architecture in _BOTH_IN_EVERY_LAYER:
        return True
    if architecture in _BY_INTERVAL:
        return _recurrent_by_interval(anatomy, layer)
    if architecture in _BY_HEADS:
        only_feed_forward = architecture.startswith("nemotron") and anatomy.feed_forward_length[layer] > 0
        return not anatomy.heads_kv[layer] and not only_feed_forward
    return bool(recurrent_state_bytes(anatomy))


def recurrent_state_bytes(anatomy: Anatomy) -> int:
    """State of one slot in one recurrent layer, always F32 (llama_hparams::n_embd_r and n_embd_s)."""
    width = anatomy.embedding_length
    if head_size := number(anatomy, "wkv.head_size"):
        return 4 * width * (head_size + (number(anatomy, "token_shift_count") or 2))
    if kernel := number(anatomy, "shortconv.l_cache"):
        return 4 * (kernel - 1) * width
    kernel = number(anatomy, "ssm.conv_kernel")
    if head := number(anatomy, "kda.head_dim"):
        inner = max(anatomy.heads, default=0) * head
        return 4 * inner * (3 * (kernel - 1 if kernel else 3) + head)
    if anatomy.architecture == "minimax-01":
        return 4 * anatomy.key_length**2 * max(anatomy.heads, default=0)
    inner, state = number(anatomy, "ssm.inner_size"), number(anatomy, "ssm.state_size")
    return 4 * (max(0, kernel - 1) * (inner + 2 * number(anatomy, "ssm.group_count") * state) + state * inner)


def sliding_window_tokens(anatomy: Anatomy) -> int:
    """0: none, or one that llama.cpp does not use to save memory (phi3), or that we do not know."""
    architecture = anatomy.architecture
    window = number(anatomy, "attention.sliding_window")
    if architecture == "exaone4" and anatomy.layers != 64:
        return 0
    if architecture in _OWN_WINDOW:
        said = f"{architecture}.attention.sliding_window" in anatomy.metadata
        return _OWN_WINDOW[architecture] if window or (architecture == "llama4" and not said) else 0
    if architecture == "gemma2":
        return window or 4096
    return window if architecture in _DENSE_EVERY or architecture in _BY_LIST else 0


def sees_whole_context(anatomy: Anatomy, layer: int) -> bool:
    if not sliding_window_tokens(anatomy):
        return True
    pattern = anatomy.metadata.get(f"{anatomy.architecture}.attention.sliding_window_pattern")
    if isinstance(pattern, list):
        return not (layer < len(pattern) and pattern[layer])
    if anatomy.architecture not in _DENSE_EVERY:
        return True
    every, first = _DENSE_EVERY[anatomy.architecture]
    if isinstance(pattern, int) and not isinstance(pattern, bool):
        every = pattern
    return every > 0 and layer % every == (0 if first else every - 1)


def context_cells(settings: LaunchSettings) -> int:
    """KV cells of one slot: llama.cpp rounds each slot's share up to 256."""
    return _padded(settings.context_tokens, 256)


def cells_of(anatomy: Anatomy, settings: LaunchSettings, layer: int) -> int:
    """KV cells of one slot in this layer."""
    cells = context_cells(settings)
    if sees_whole_context(anatomy, layer):
        return cells
    return min(cells, _padded(sliding_window_tokens(anatomy) + settings.micro_batch_tokens, 256))


def head_lengths(anatomy: Anatomy, layer: int) -> tuple[int, int]:
    """Of a key and a value; layers with a window may have their own. Latent attention keeps no values: its keys hold them."""
    key, value = anatomy.key_length, anatomy.value_length
    if not sees_whole_context(anatomy, layer):
        key = number(anatomy, "attention.key_length_swa") or key
        value = number(anatomy, "attention.value_length_swa") or value
    return key, 0 if is_latent(anatomy) else value


def is_latent(anatomy: Anatomy) -> bool:
    """Multi-head latent attention, in a file new enough to say so (llama_hparams::is_mla)."""
    return bool(number(anatomy, "attention.key_length_mla") and number(anatomy, "attention.value_length_mla"))


def _recurrent_by_interval(anatomy: Anatomy, layer: int) -> bool:
    listed = anatomy.metadata.get(f"{anatomy.architecture}.attention.recurrent_layers")
    if isinstance(listed, list):
        return layer < len(listed) and bool(listed[layer])
    every = number(anatomy, "full_attention_interval") or (8 if anatomy.architecture == "minimax-01" else 4)
    drafting = layer >= anatomy.layers - number(anatomy, "nextn_predict_layers")
    return not drafting and (layer + 1) % every != 0


def number(anatomy: Anatomy, key: str) -> int:
    """A whole number of the header under the architecture's prefix, the largest of a list; 0 where it is not there."""
    value = anatomy.metadata.get(f"{anatomy.architecture}.{key}")
    if isinstance(value, list):
        return max((each for each in value if isinstance(each, int)), default=0)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def layer_of(name: str) -> int | None:
    """Of a tensor: "blk.7.ffn_up.weight" is in layer 7."""
    head, _, rest = name.partition(".")
    index = rest.partition(".")[0]
    return int(index) if head == "blk" and index.isdigit() else None


def _padded(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
