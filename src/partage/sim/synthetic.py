"""Workloads made from rules and a seed: the hub mix (W1), alternation, a flood, and equal Poisson streams.

Sources of the rules: Gamma arrivals with a coefficient of variation and power-law popularity as in S-LoRA and MuxServe;
lengths as in the Azure LLM traces of 2023 (log-normal fits of their medians and means).
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence

from partage.domain import Class
from partage.sim.workload import (
    BATCH_GOAL,
    EMBEDDING_GOAL,
    GB,
    INTERACTIVE_GOAL,
    Asked,
    SimModel,
    Workload,
    workload,
)

SMALL = SimModel(name="small:3b", size_bytes=3 * GB, prefill_tokens_per_s=16000, decode_tokens_per_s=200)
CHAT = SimModel(name="chat:8b", size_bytes=13 * GB // 2, prefill_tokens_per_s=8000, decode_tokens_per_s=125)
LARGE = SimModel(name="chat:14b", size_bytes=11 * GB, prefill_tokens_per_s=4500, decode_tokens_per_s=72)
CODE = SimModel(name="code:32b", size_bytes=20 * GB, prefill_tokens_per_s=2200, decode_tokens_per_s=37)
VISION = SimModel(name="vision:7b", size_bytes=8 * GB, prefill_tokens_per_s=8000, decode_tokens_per_s=115)
EMBED = SimModel(
    name="embed:0.3b", size_bytes=GB, prefill_tokens_per_s=30000, decode_tokens_per_s=1e6, slots=8, embedding=True
)
"""Rates of one stream as llama.cpp reaches them with 4-bit weights on a 24 GB card of 1 TB/s, to about 20 %."""
HUB_MODELS = (SMALL, CHAT, LARGE, CODE, VISION, EMBED)

CHAT_LENGTHS = ((1020.0, 0.5), (129.0, 1.0))
"""(median, sigma) of prompt and answer: Azure conversation, means 1155 and 211."""
CODE_LENGTHS = ((1469.0, 0.8), (13.0, 1.1))
"""Azure code, means 2048 and 28."""


ZIPF = (0.5, 0.9, 2.1)
"""Popularity of the four chat models, from nearly alike to one for nearly all."""
VARIATIONS = (1.0, 2.0, 4.0)
"""Of the time between requests, from Poisson to bursts."""
DOCUMENTS_S, INDEXER_S, SUMMARIES_S = 600.0, 900.0, 1200.0
"""Mean time between bursts of batch work. It does not grow with the load: that is how much people ask."""


def hub_mix(
    seed: int,
    load: float,
    *,
    minutes: float = 60.0,
    zipf: float | None = None,
    variation: float | None = None,
    users: int = 16,
) -> Workload:
    """W1: people chatting with four models, search queries, and documents, an indexer and summaries as batch work.

    At load 1 people ask 0.5 times per second. Popularity and variation, unless told, go through all nine pairs with the
    seed, and through all values of each within three seeds.
    """
    zipf = ZIPF[seed % 3] if zipf is None else zipf
    variation = VARIATIONS[(seed + seed // 3) % 3] if variation is None else variation
    chance = _chance(seed)
    until_s = minutes * 60.0
    chats = [CHAT, SMALL, LARGE, CODE]
    shares = _power_law(len(chats), zipf)
    asked: list[Asked] = []
    per_second = 0.5 * load
    for model, share in zip(chats, shares, strict=True):
        lengths = CODE_LENGTHS if model is CODE else CHAT_LENGTHS
        for at_s in _gamma_arrivals(chance, per_second * share, variation, until_s):
            client = f"user{chance.randrange(users)}"
            asked.append(_interactive(chance, at_s, model, client, lengths))
    asked += [
        Asked(at_s, EMBED.name, "rag", Class.INTERACTIVE, chance.randint(10, 60), 1, EMBEDDING_GOAL)
        for at_s in _gamma_arrivals(chance, 0.1 * load, 1.0, until_s)
    ]
    for at_s in _gamma_arrivals(chance, 1 / DOCUMENTS_S, 1.0, until_s):
        asked += _burst(chance, at_s, VISION, "documents", chance.randint(20, 60), (1200, 250))
    for at_s in _gamma_arrivals(chance, 1 / INDEXER_S, 1.0, until_s):
        asked += _burst(chance, at_s, EMBED, "indexer", 200, (300, 1))
    for at_s in _gamma_arrivals(chance, 1 / SUMMARIES_S, 1.0, until_s):
        asked += _burst(chance, at_s, CHAT, "summaries", 20, (2500, 200))
    return workload(f"hub mix, load {load:g}, seed {seed}", HUB_MODELS, asked, until_s)


def alternation(models: Sequence[SimModel], *, count: int, every_s: float, clients: int = 8) -> Workload:
    """A B A B ...: the pattern on which a policy without batching by model swaps once per request."""
    asked = [
        Asked(
            number * every_s,
            models[number % len(models)].name,
            f"client{number % clients}",
            Class.INTERACTIVE,
            200,
            50,
            INTERACTIVE_GOAL,
        )
        for number in range(count)
    ]
    return workload("alternation", models, asked, count * every_s + 1.0)


def flood(seed: int, *, factor: float, minutes: float = 20.0, per_second: float = 0.02, clients: int = 10) -> Workload:
    """Equal clients over three models that do not all fit 24 GB; the last client asks `factor` times as often."""
    models = (CHAT, LARGE, VISION)
    until_s = minutes * 60.0
    asked: list[Asked] = []
    for number in range(clients):
        rate = per_second * (factor if number == clients - 1 else 1.0)
        chance = _chance(seed * 1000 + number)  # what the others ask does not depend on the flood
        for at_s in _gamma_arrivals(chance, rate, 1.0, until_s):
            asked += [_interactive(chance, at_s, chance.choice(models), f"client{number}", CHAT_LENGTHS)]
    return workload(f"flood x{factor:g}, seed {seed}", models, asked, until_s)


def _chance(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - to be the same each time is the point


def _interactive(
    chance: random.Random, at_s: float, model: SimModel, client: str, lengths: tuple[tuple[float, float], ...]
) -> Asked:
    prompt, answer = (max(1, min(8000, round(_lognormal(chance, median, sigma)))) for median, sigma in lengths)
    return Asked(at_s, model.name, client, Class.INTERACTIVE, prompt, answer, INTERACTIVE_GOAL)


def _burst(
    chance: random.Random, at_s: float, model: SimModel, client: str, count: int, lengths: tuple[int, int]
) -> Iterator[Asked]:
    prompt, answer = lengths
    for _ in range(count):
        scale = chance.uniform(0.7, 1.3)
        yield Asked(
            at_s, model.name, client, Class.BATCH, round(prompt * scale), max(1, round(answer * scale)), BATCH_GOAL
        )


def _power_law(count: int, exponent: float) -> list[float]:
    weights = [(rank + 1) ** -exponent for rank in range(count)]
    return [weight / sum(weights) for weight in weights]


def _gamma_arrivals(chance: random.Random, per_second: float, variation: float, until_s: float) -> Iterator[float]:
    shape = 1.0 / variation**2
    at_s = 0.0
    while True:
        at_s += chance.gammavariate(shape, 1.0 / (per_second * shape))
        if at_s >= until_s:
            return
        yield at_s


def _lognormal(chance: random.Random, median: float, sigma: float) -> float:
    return math.exp(chance.gauss(math.log(median), sigma))
