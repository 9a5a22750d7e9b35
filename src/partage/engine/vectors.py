"""Embedding vectors: read from OpenAI-style answers, and shortened."""

from __future__ import annotations

import base64
import math
from array import array

import msgspec

from partage.engine.answers import UsageJson
from partage.engine.connection import decode
from partage.errors import EngineError


class _Embedding(msgspec.Struct):
    embedding: str | list[float]
    index: int = 0


class _Embeddings(msgspec.Struct):
    data: list[_Embedding]
    usage: UsageJson = msgspec.field(default_factory=UsageJson)


def decode_embeddings(answer: bytes, inputs: int) -> tuple[list[tuple[float, ...]], UsageJson]:
    """Return one vector per input, in their order. Raises EngineError when some are missing."""
    embeddings = decode(answer, _Embeddings)
    if len(embeddings.data) != inputs:
        raise EngineError(f"the model server returned {len(embeddings.data)} vectors for {inputs} inputs")
    in_order = sorted(embeddings.data, key=lambda item: item.index)
    return [_numbers(item.embedding) for item in in_order], embeddings.usage


def _numbers(embedding: str | list[float]) -> tuple[float, ...]:
    if isinstance(embedding, str):  # base64 of little-endian float32: a third of the size, and quick
        return tuple(array("f", base64.b64decode(embedding)))
    return tuple(embedding)


def shorten(vector: tuple[float, ...], dimensions: int, *, normalise: bool) -> tuple[float, ...]:
    """Keep the first dimensions (Matryoshka representation learning, arXiv 2205.13147) and renormalise."""
    kept = vector[:dimensions]
    length = math.hypot(*kept)
    return tuple(number / length for number in kept) if normalise and length > 0 else kept
