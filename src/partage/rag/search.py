"""Finds the passages that speak of a question: by meaning and by words, the two lists made one."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from partage.errors import EngineTimedOut
from partage.rag.hub import Hub
from partage.rag.settings import RagSettings
from partage.rag.store import EVERYWHERE, Only, Passage, Store, Vector
from partage.rag.words import roots

K = TypeVar("K", bound=Hashable)

CANDIDATES_PER_HIT = 4
RANK_OFFSET = 60


@dataclass(frozen=True, slots=True)
class Hit:
    passage: Passage
    score: float
    """1: first by meaning and first by words."""
    similarity: float
    """Cosine of the question's and the passage's vectors."""


@dataclass(frozen=True, slots=True)
class Found:
    vector: Vector
    """The question's."""
    hits: list[Hit]


class Search:
    def __init__(self, hub: Hub, store: Store, settings: RagSettings) -> None:
        self._hub = hub
        self._store = store
        self._settings = settings

    async def find(self, question: str, limit: int, only: Only = EVERYWHERE) -> Found:
        """Raises the hub's errors, EngineTimedOut and IndexMismatch."""
        await self._store.check_model(self._settings.embed_model)
        [vector] = await self.embed([question])
        near = await self._store.nearest(vector, limit * CANDIDATES_PER_HIT, only)
        worded = await self._store.with_words(question, limit * CANDIDATES_PER_HIT, only)
        lists = [near, worded]
        passages = {passage.id: passage for some in lists for passage in some}
        scores = fuse([[passage.id for passage in some] for some in lists])
        best = sorted(scores, key=lambda id_: -scores[id_])[:limit]
        return Found(vector, [Hit(passages[id_], scores[id_], cosine(vector, passages[id_].vector)) for id_ in best])

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        limit_s = self._settings.embed_timeout_s
        try:
            return await self._hub.embed(self._settings.embed_model, texts, timeout_s=limit_s)
        except EngineTimedOut as error:
            raise EngineTimedOut(
                f"{self._settings.embed_model} did not embed the question within {limit_s:g} s; the hub is busy, try"
                " again or raise the limit (rag: embed_timeout)"
            ) from error


def fuse(ranked: Sequence[Sequence[K]], *, offset: int = RANK_OFFSET) -> Mapping[K, float]:
    """Score what stands in several ranked lists: 1 for the first of them all.

    Source: Cormack, Clarke, Buettcher, "Reciprocal rank fusion outperforms Condorcet ...", SIGIR 2009 (offset 60).
    """
    scores: dict[K, float] = {}
    for some in ranked:
        for rank, one in enumerate(some, start=1):
            scores[one] = scores.get(one, 0.0) + (offset + 1) / (offset + rank) / len(ranked)
    return scores


def cosine(a: Vector, b: Vector) -> float:
    one, other = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / length if length else 0.0


def shared_words(question: str, text: str) -> float:
    """Tell which share of the question's words is in the text, 0 to 1."""
    asked = roots(question)
    return len(asked & roots(text)) / len(asked) if asked else 0.0
