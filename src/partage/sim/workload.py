"""What a simulated hub is asked: models with their costs, and requests with what each client would call good enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from partage.domain import Class
from partage.policy.events import Demand

GB = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class SimModel:
    name: str
    size_bytes: int
    prefill_tokens_per_s: float
    decode_tokens_per_s: float
    """Of one stream alone on the device."""
    slots: int = 4
    embedding: bool = False
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Goal:
    """When a request counts as well served."""

    first_token_s: float
    per_token_s: float
    finish_s: float


INTERACTIVE_GOAL = Goal(10.0, 0.1, float("inf"))
"""First token in 10 s, then 10 tokens/s: the goal of Aegaeon (SOSP'25)."""
EMBEDDING_GOAL = Goal(2.0, float("inf"), 2.0)
BATCH_GOAL = Goal(float("inf"), float("inf"), 600.0)


CLIENT_RETRIES = {Class.INTERACTIVE: 2, Class.NORMAL: 2, Class.BATCH: 1000}
"""After a 429 or 503: the official OpenAI client tries twice more; a job goes on until it is done."""


@dataclass(frozen=True, slots=True)
class Arrival:
    at_s: float
    demand: Demand
    output_tokens: int
    """What the answer turns out to have; the policy is only told what was expected."""
    goal: Goal
    retries: int = 0
    """How often the client asks again after a refusal that says when to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    name: str
    models: Sequence[SimModel]
    arrivals: Sequence[Arrival]
    """In order of time."""
    until_s: float


@dataclass(frozen=True, slots=True)
class Asked:
    """One request before it has a name: what the generators and readers of traces produce."""

    at_s: float
    model: str
    client: str
    class_: Class
    prompt_tokens: int
    output_tokens: int
    goal: Goal
    weight: float = 1.0


def workload(name: str, models: Sequence[SimModel], asked: Sequence[Asked], until_s: float) -> Workload:
    """Sorts, names, and adds the length that experience would expect: the 90th percentile of each client and model."""
    by_kind: dict[tuple[str, str], list[int]] = {}
    for one in asked:
        by_kind.setdefault((one.client, one.model), []).append(one.output_tokens)
    expected = {kind: sorted(lengths)[len(lengths) * 9 // 10] for kind, lengths in by_kind.items()}
    ordered = sorted((one for one in asked if one.at_s < until_s), key=lambda one: one.at_s)
    arrivals = [
        Arrival(
            one.at_s,
            Demand(
                id=str(number),
                model=one.model,
                client=one.client,
                class_=one.class_,
                weight=one.weight,
                prompt_tokens=one.prompt_tokens,
                output_tokens=expected[one.client, one.model],
            ),
            one.output_tokens,
            one.goal,
            CLIENT_RETRIES[one.class_],
        )
        for number, one in enumerate(ordered)
    ]
    return Workload(name=name, models=models, arrivals=arrivals, until_s=until_s)
