"""Catalog figures: the shapes of well-known Ollama models, for planning before anything is pulled.

From the public GGUF headers and file sizes. The anatomy made of them has the right number of bytes and layers; how the
bytes lie in the tensors is an approximation. A pulled model's own header always replaces it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod

from partage.domain import Anatomy, TensorFacts
from partage.json_value import JsonValue

GB = 1_000_000_000

BITS_PER_WEIGHT = {
    "q2_K": 3.35, "q3_K_S": 3.5, "q3_K_M": 3.9, "q4_0": 4.55, "q4_K_S": 4.6, "q4_K_M": 4.85, "q5_0": 5.55,
    "q5_K_M": 5.7, "q6_K": 6.6, "q8_0": 8.5, "fp16": 16.0,
}  # fmt: skip
"""Whole files divided by their parameters, embeddings included."""
_GGML_TYPE = {"q4_0": "Q4_0", "q8_0": "Q8_0", "fp16": "F16"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One model of the library at its default quantisation."""

    architecture: str
    layers: int
    width: int
    feed_forward: int
    heads: int
    heads_kv: int
    head: int
    context: int
    vocab: int
    quantisation: str
    file_bytes: float
    projector_bytes: float = 0
    window: int = 0

    @property
    def causal(self) -> bool:
        return "bert" not in self.architecture

    @property
    def parameters(self) -> int:
        """Of the weights in the file; the projector apart."""
        attention = self.width * self.head * (2 * self.heads + 2 * self.heads_kv)
        feed_forward = (2 if self.architecture == "bert" else 3) * self.width * self.feed_forward
        return self.layers * (attention + feed_forward) + self.width * self.vocab

    def requantised(self, quantisation: str) -> float:
        """Bytes of the file in another quantisation."""
        return self.file_bytes * BITS_PER_WEIGHT[quantisation] / BITS_PER_WEIGHT[self.quantisation]


def _llama(
    layers: int, width: int, feed_forward: int, heads: int, heads_kv: int, size_gb: float, **other: object
) -> Figure:
    settings: dict[str, object] = {
        "architecture": "llama", "head": width // heads, "context": 131_072, "vocab": 128_256, "quantisation": "q4_K_M",
        "layers": layers, "width": width, "feed_forward": feed_forward, "heads": heads, "heads_kv": heads_kv,
        "file_bytes": size_gb * GB,
    }  # fmt: skip
    return Figure(**{**settings, **other})  # pyright: ignore[reportArgumentType]


def _qwen(
    layers: int, width: int, feed_forward: int, heads: int, heads_kv: int, size_gb: float, **other: object
) -> Figure:
    return _llama(
        layers, width, feed_forward, heads, heads_kv, size_gb,
        **{"architecture": "qwen2", "head": 128, "context": 32_768, "vocab": 152_064, **other},
    )  # fmt: skip


def _gemma(
    name: str, layers: int, width: int, feed_forward: int, heads: tuple[int, int], size_gb: float, **other: object
) -> Figure:
    return _llama(
        layers, width, feed_forward, *heads, size_gb,
        **{"architecture": name, "head": 256, "vocab": 262_144 if name == "gemma3" else 256_000, **other},
    )  # fmt: skip


def _bert(layers: int, width: int, heads: int, context: int, size_gb: float, **other: object) -> Figure:
    return _llama(
        layers, width, 4 * width, heads, heads, size_gb,
        **{"architecture": "bert", "context": context, "vocab": 30_522, "quantisation": "fp16", **other},
    )  # fmt: skip


FIGURES: dict[str, Figure] = {
    "llama3.2:1b": _llama(16, 2048, 8192, 32, 8, 1.321, quantisation="q8_0"),
    "llama3.2:3b": _llama(28, 3072, 8192, 24, 8, 2.019),
    "llama3.1:8b": _llama(32, 4096, 14336, 32, 8, 4.921),
    "llama3:8b": _llama(32, 4096, 14336, 32, 8, 4.661, context=8192, quantisation="q4_0"),
    "llama3.3:70b": _llama(80, 8192, 28672, 64, 8, 42.52),
    "llama2:7b": _llama(32, 4096, 11008, 32, 32, 3.826, context=4096, vocab=32_000, quantisation="q4_0"),
    "llama2:13b": _llama(40, 5120, 13824, 40, 40, 7.366, context=4096, vocab=32_000, quantisation="q4_0"),
    "mistral:7b": _llama(32, 4096, 14336, 32, 8, 4.373, context=32_768, vocab=32_768),
    "mistral-nemo:12b": _llama(40, 5120, 14336, 32, 8, 7.072, head=128, vocab=131_072, quantisation="q4_0"),
    "llava:7b": _llama(
        32, 4096, 14336, 32, 8, 4.109, context=32_768, vocab=32_000, quantisation="q4_0", projector_bytes=0.624 * GB
    ),
    "llava:13b": _llama(
        40, 5120, 13824, 40, 40, 7.366, context=4096, vocab=32_000, quantisation="q4_0", projector_bytes=0.645 * GB
    ),
    "tinyllama:1.1b": _llama(22, 2048, 5632, 32, 4, 0.637, context=2048, vocab=32_000, quantisation="q4_0"),
    "smollm2:360m": _llama(32, 960, 2560, 15, 5, 0.725, context=8192, vocab=49_152, quantisation="fp16"),
    "smollm2:1.7b": _llama(24, 2048, 8192, 32, 32, 1.82, context=8192, vocab=49_152, quantisation="q8_0"),
    "qwen2.5:0.5b": _qwen(24, 896, 4864, 14, 2, 0.398, head=64, vocab=151_936),
    "qwen2.5:1.5b": _qwen(28, 1536, 8960, 12, 2, 0.986, vocab=151_936),
    "qwen2.5:3b": _qwen(36, 2048, 11008, 16, 2, 1.930, vocab=151_936),
    "qwen2.5:7b": _qwen(28, 3584, 18944, 28, 4, 4.683),
    "qwen2.5:14b": _qwen(48, 5120, 13824, 40, 8, 8.988),
    "qwen2.5:32b": _qwen(64, 5120, 27648, 40, 8, 19.85),
    "qwen3:4b": _qwen(36, 2560, 9728, 32, 8, 2.497, architecture="qwen3", context=40_960, vocab=151_936),
    "qwen3:8b": _qwen(36, 4096, 12288, 32, 8, 5.225, architecture="qwen3", context=40_960, vocab=151_936),
    "qwen3:14b": _qwen(40, 5120, 17408, 40, 8, 9.276, architecture="qwen3", context=40_960, vocab=151_936),
    "deepseek-r1:7b": _qwen(28, 3584, 18944, 28, 4, 4.683, context=131_072),
    "gemma2:2b": _gemma("gemma2", 26, 2304, 9216, (8, 4), 1.629, context=8192, window=4096, quantisation="q4_0"),
    "gemma2:9b": _gemma("gemma2", 42, 3584, 14336, (16, 8), 5.443, context=8192, window=4096, quantisation="q4_0"),
    "gemma3:1b": _gemma("gemma3", 26, 1152, 6912, (4, 1), 0.815, context=32_768, window=512),
    "gemma3:4b": _gemma("gemma3", 34, 2560, 10240, (8, 4), 2.490, window=1024, projector_bytes=0.851 * GB),
    "gemma3:12b": _gemma("gemma3", 48, 3840, 15360, (16, 8), 7.301, window=1024, projector_bytes=0.854 * GB),
    "phi3:3.8b": _llama(32, 3072, 8192, 32, 32, 2.176, architecture="phi3", vocab=32_064, quantisation="q4_0"),
    "phi4:14b": _llama(40, 5120, 17920, 40, 10, 9.053, architecture="phi3", head=128, context=16_384, vocab=100_352),
    "nomic-embed-text:v1.5": _bert(12, 768, 12, 2048, 0.274, architecture="nomic-bert"),
    "mxbai-embed-large:335m": _bert(24, 1024, 16, 512, 0.670),
    "bge-m3:567m": _bert(24, 1024, 16, 8192, 1.158, vocab=250_002),
    "all-minilm:22m": _bert(6, 384, 12, 512, 0.046),
}
_LATEST = {
    "llama3.2": "3b", "llama3.1": "8b", "llama3": "8b", "llama3.3": "70b", "llama2": "7b", "mistral": "7b",
    "mistral-nemo": "12b", "llava": "7b", "tinyllama": "1.1b", "smollm2": "1.7b", "qwen2.5": "7b", "qwen3": "8b",
    "deepseek-r1": "7b", "gemma2": "9b", "gemma3": "4b", "phi3": "3.8b", "phi4": "14b", "nomic-embed-text": "v1.5",
    "mxbai-embed-large": "335m", "bge-m3": "567m", "all-minilm": "22m",
}  # fmt: skip
"""What `latest`, or no tag, stands for."""


def find_figure(name: str) -> tuple[Figure, str] | None:
    """The figure of a name, and its quantisation: "llama3.2:3b-instruct-q8_0". None where there is none."""
    family, _, tag = name.partition(":")
    size = _LATEST.get(family, "") if tag in ("", "latest") else tag.split("-")[0]
    figure = FIGURES.get(f"{family}:{size}") or (
        FIGURES.get(f"{family}:{_LATEST.get(family)}") if size == "v1.5" else None
    )
    if figure is None:
        return None
    stated = re.search(r"(q\d_(?:K_[SML]|K|\d)|fp16)$", tag, re.IGNORECASE)
    if stated is None:
        return figure, figure.quantisation
    wanted = next((one for one in BITS_PER_WEIGHT if one.lower() == stated[1].lower()), None)
    return (figure, wanted) if wanted else None


def anatomy_of(figure: Figure, quantisation: str = "") -> Anatomy:
    """Whole tensors of the right total size, one per layer for attention and one for the rest."""
    quantisation = quantisation or figure.quantisation
    bytes_per_parameter = figure.requantised(quantisation) / figure.parameters
    type_ = _GGML_TYPE.get(quantisation, quantisation.upper().removesuffix("_M").removesuffix("_S"))
    per_layer = figure.parameters - figure.width * figure.vocab

    def tensor(name: str, *shape: int) -> TensorFacts:
        return TensorFacts(name=name, type=type_, shape=shape, size_bytes=int(prod(shape) * bytes_per_parameter))

    tensors = [tensor("token_embd.weight", figure.width, figure.vocab)]
    tensors += [
        tensor(f"blk.{layer}.weights", figure.width, per_layer // figure.layers // figure.width)
        for layer in range(figure.layers)
    ]
    metadata: dict[str, JsonValue] = {}
    if figure.window:
        metadata[f"{figure.architecture}.attention.sliding_window"] = figure.window
    return Anatomy(
        architecture=figure.architecture,
        layers=figure.layers,
        embedding_length=figure.width,
        feed_forward_length=(figure.feed_forward,) * figure.layers,
        heads=(figure.heads,) * figure.layers,
        heads_kv=(figure.heads_kv,) * figure.layers,
        key_length=figure.head,
        value_length=figure.head,
        context_train_tokens=figure.context,
        vocab_tokens=figure.vocab,
        causal=figure.causal,
        tensors=tuple(tensors),
        metadata=metadata,
    )


def projector_of(figure: Figure) -> Anatomy | None:
    """A vision tower of CLIP's shape with the bytes of the file."""
    if not figure.projector_bytes:
        return None
    weights = TensorFacts(name="v.weights", type="F16", shape=(1024,), size_bytes=int(figure.projector_bytes))
    return Anatomy(
        architecture="clip",
        layers=24,
        embedding_length=1024,
        feed_forward_length=(4096,) * 24,
        heads=(16,) * 24,
        heads_kv=(16,) * 24,
        key_length=64,
        value_length=64,
        context_train_tokens=0,
        vocab_tokens=0,
        causal=False,
        tensors=(weights,),
        metadata={},
    )
