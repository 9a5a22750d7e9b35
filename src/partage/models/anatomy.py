"""Makes sense of a GGUF header: the model's anatomy, what it can do, and how people call its size and type."""

from __future__ import annotations

from collections import Counter
from math import prod

from partage.domain import Anatomy, Capability
from partage.errors import ModelFileError
from partage.json_value import JsonValue
from partage.models.gguf_header import Header, LongArray

_MOST_LAYERS = 4096
UNQUANTISED = frozenset({"F32", "F16", "BF16"})
_ENCODERS = frozenset(
    {"bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "jina-bert-v2", "jina-bert-v3", "t5encoder"}
)

# general.file_type; source: llama.cpp, enum llama_ftype.
_FILE_TYPES = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4",
    39: "NVFP4",
    40: "Q1_0",
}


def anatomy(header: Header) -> Anatomy:
    """Derive the anatomy. Raises ModelFileError when the header lacks or garbles what every model has."""
    architecture = header.text("general.architecture")
    if not architecture:
        raise ModelFileError("the header does not say the architecture (general.architecture)")
    # A projector (mmproj) keeps its sizes one level down.
    prefix = "clip.vision" if architecture == "clip" else architecture
    keys = _Keys(header, prefix)
    layers = keys.whole("block_count", most=_MOST_LAYERS)
    embedding_length = keys.whole("embedding_length")
    heads = keys.per_layer("attention.head_count", layers, default=0)
    heads_kv = keys.per_layer("attention.head_count_kv", layers, default=heads)
    head_width = embedding_length // max(heads) if any(heads) else 0
    return Anatomy(
        architecture=architecture,
        layers=layers,
        embedding_length=embedding_length,
        feed_forward_length=keys.per_layer("feed_forward_length", layers, default=0),
        heads=heads,
        heads_kv=heads_kv,
        key_length=keys.whole("attention.key_length", default=head_width),
        value_length=keys.whole("attention.value_length", default=head_width),
        context_train_tokens=keys.whole("context_length", default=0),
        vocab_tokens=header.count("tokenizer.ggml.tokens") or keys.whole("vocab_size", default=0),
        causal=header.metadata.get(f"{prefix}.attention.causal", architecture not in _ENCODERS) is not False,
        tensors=header.tensors,
        metadata={key: value for key, value in header.metadata.items() if not isinstance(value, LongArray)},
    )


def chat_template(header: Header) -> str:
    return header.text("tokenizer.chat_template")


def capabilities(anatomy: Anatomy, template: str, *, projector: bool) -> frozenset[Capability]:
    """What the model can do, read off its header and template.

    A pooling type marks a model made for embeddings (so does Ollama read it); any other can complete text and,
    pooled, embed as well.
    """
    if anatomy.metadata.get(f"{anatomy.architecture}.pooling_type") is not None or not anatomy.causal:
        return frozenset({Capability.EMBEDDING})
    found = {Capability.COMPLETION}
    if template:
        found.add(Capability.CHAT)
    if projector or anatomy.metadata.get(f"{anatomy.architecture}.vision.block_count"):
        found.add(Capability.VISION)
    if "tools" in template:
        found.add(Capability.TOOLS)
    if "<think>" in template or "enable_thinking" in template:
        found.add(Capability.THINKING)
    if all(f"tokenizer.ggml.fim_{part}_token_id" in anatomy.metadata for part in ("pre", "suf", "mid")):
        found.add(Capability.INSERT)
    return frozenset(found)


def parameter_count(anatomy: Anatomy) -> int:
    return sum(prod(tensor.shape) for tensor in anatomy.tensors)


def parameter_size(anatomy: Anatomy) -> str:
    """As people say it, and as Ollama prints it: "134.52M", "3.2B"."""
    count = parameter_count(anatomy)
    for unit, size, digits in (("B", 10**9, 1), ("M", 10**6, 2)):
        if count >= size:
            return f"{count / size:.{digits}f}{unit}" if count % size else f"{count // size}{unit}"
    return f"{count / 1000:.0f}K" if count >= 1000 else str(count)


def quantisation(anatomy: Anatomy) -> str:
    """The name of the weights' type: what the file says, else the type that most bytes have."""
    file_type = anatomy.metadata.get("general.file_type")
    if isinstance(file_type, int) and file_type in _FILE_TYPES:
        return _FILE_TYPES[file_type]
    bytes_by_type: Counter[str] = Counter()
    for tensor in anatomy.tensors:
        bytes_by_type[tensor.type] += tensor.size_bytes
    return bytes_by_type.most_common(1)[0][0] if bytes_by_type else "unknown"


class _Keys:
    """Checked access to the keys of one architecture."""

    def __init__(self, header: Header, prefix: str) -> None:
        self._header = header
        self._prefix = prefix

    def whole(self, key: str, *, most: int = 1 << 32, default: int | None = None) -> int:
        name = f"{self._prefix}.{key}"
        value = self._header.metadata.get(name, default)
        if isinstance(value, list):  # per layer where one number is expected: the largest is safe
            return max((self._checked(name, each, most) for each in value), default=0)
        if value is None:
            raise ModelFileError(f"the header lacks {name}")
        return self._checked(name, value, most)

    def per_layer(self, key: str, layers: int, *, default: int | tuple[int, ...]) -> tuple[int, ...]:
        name = f"{self._prefix}.{key}"
        value = self._header.metadata.get(name)
        if value is None:
            return default if isinstance(default, tuple) else (default,) * layers
        if not isinstance(value, list):
            return (self._checked(name, value, 1 << 32),) * layers
        if len(value) != layers:
            raise ModelFileError(f"{name} has {len(value)} values for {layers} layers")
        return tuple(self._checked(name, each, 1 << 32) for each in value)

    @staticmethod
    def _checked(name: str, value: JsonValue | LongArray, most: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise ModelFileError(f"{name} is {value!r}; a whole number from 0 to {most} is needed")
        return value
