"""Requests from files: public traces, whose models get their sizes here, and the journal of a live hub."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from partage.domain import Class
from partage.journal_format import EventLine, JournalLine, JournalUnreadable, parse_line, parse_lines
from partage.policy import events
from partage.sim.records import Record, TraceUnreadable, read_records
from partage.sim.workload import (
    BATCH_GOAL,
    EMBEDDING_GOAL,
    GB,
    INTERACTIVE_GOAL,
    Arrival,
    Asked,
    SimModel,
    Workload,
    workload,
)

B1 = SimModel(name="1b", size_bytes=GB * 12 // 10, prefill_tokens_per_s=30000, decode_tokens_per_s=350)
B3 = SimModel(name="3b", size_bytes=3 * GB, prefill_tokens_per_s=16000, decode_tokens_per_s=200)
B8 = SimModel(name="8b", size_bytes=GB * 13 // 2, prefill_tokens_per_s=8000, decode_tokens_per_s=125)
B13 = SimModel(name="13b", size_bytes=GB * 10, prefill_tokens_per_s=5000, decode_tokens_per_s=80)

PRISM_RANKS = (2, 14, 3, 10, 5, 19, 23, 24)
PRISM_SIZES = (B8, B3, B1, B8, B8, B1, B1, B1)
"""Which of the 27 of LMSYS by popularity, and as what size: Prism's choice of eight."""
LMSYS_MODELS = 27


def read_trace(path: Path, *, stretch: float = 1.0, sizes_bytes: Sequence[float] = ()) -> Workload:
    """Everybody in it is interactive. `stretch` 2 halves the rate; `sizes_bytes`: of its models by popularity, repeated.

    Without sizes, LMSYS-27 becomes Prism's eight models, others get 6.5, 6.5 and 10 GB in turn, and a trace without models is
    one of 6.5 GB. Raises TraceUnreadable.
    """
    records = read_records(path)
    if not records:
        raise TraceUnreadable(f"{path}: no request in it")
    by_rank = [model for model, _ in Counter(one.model for one in records).most_common()]
    models = _sized(by_rank, [size_model(size) for size in sizes_bytes])
    asked = [
        _interactive(one.at_s * stretch, models[one.model].name, one.client or _someone(by_rank, one, number), one)
        for number, one in enumerate(records)
        if one.model in models
    ]
    return workload(f"{path.stem} x{stretch:g}", tuple(models.values()), asked, _until_s(asked))


def is_journal(path: Path) -> bool:
    """By its first line. Raises OSError."""
    with path.open("rb") as lines:
        try:
            parse_line(lines.readline(1 << 20))
        except JournalUnreadable:
            return False
    return True


def journal_lines(path: Path) -> Iterator[JournalLine]:
    """Raises TraceUnreadable."""
    try:
        with path.open("rb") as lines:
            yield from parse_lines(lines)
    except OSError as error:
        raise TraceUnreadable(f"{path} cannot be read: {error.strerror}") from error
    except JournalUnreadable as error:
        raise TraceUnreadable(f"{path} is no journal of a hub: {error}") from error


def resampled(load: Workload, seed: int) -> Workload:
    """What might have been asked as well; seed 0: what was.

    Each model's requests come earlier or later by a time of its own, around the clock, so that its bursts stay and meet
    others; what is asked is drawn anew from all that the model was asked for.
    """
    if not seed:
        return load
    chance = random.Random(seed)  # noqa: S311 - to be the same each time is the point
    by_model: dict[str, list[Arrival]] = {}
    for one in load.arrivals:
        by_model.setdefault(one.demand.model, []).append(one)
    asked: list[Asked] = []
    for arrivals in by_model.values():
        shift_s = chance.uniform(0.0, load.until_s)
        drawn = chance.choices(arrivals, k=len(arrivals))
        asked += [
            Asked(
                (arrival.at_s + shift_s) % load.until_s,
                one.demand.model,
                one.demand.client,
                one.demand.class_,
                one.demand.prompt_tokens,
                one.output_tokens,
                one.goal,
                one.demand.weight,
            )
            for arrival, one in zip(arrivals, drawn, strict=True)
        ]
    return workload(f"{load.name}, seed {seed}", load.models, asked, load.until_s)


def read_journal(path: Path, *, stretch: float = 1.0) -> Workload:
    """The requests of a live hub, with the models and rates it had learned, to be run on another machine or policy."""
    models: dict[str, SimModel] = {}
    demands: dict[str, tuple[float, events.Demand]] = {}
    outputs: dict[str, int] = {}
    start_s: float | None = None
    for line in journal_lines(path):
        if not isinstance(line, EventLine):
            continue
        start_s = line.at_s if start_s is None else start_s
        match line.event:
            case events.ModelLearned(profile=profile) if profile.placements:
                models[profile.model] = _from_profile(profile)
            case events.RequestArrived(demand=demand) if not demand.load_only:
                demands[demand.id] = ((line.at_s - start_s) * stretch, demand)
            case events.RequestFinished(request=request, outcome="done", output_tokens=tokens):
                outputs[request] = tokens
            case _:
                pass
    if not demands:
        raise TraceUnreadable(f"{path} has no requests yet")
    asked = [
        _asked_again(at_s, demand, outputs.get(request, demand.output_tokens))
        for request, (at_s, demand) in demands.items()
        if demand.model in models
    ]
    return workload(f"journal {path.name}", tuple(models.values()), asked, _until_s(asked))


def _from_profile(profile: events.ModelProfile) -> SimModel:
    best = profile.placements[0]
    return SimModel(
        name=profile.model,
        size_bytes=best.total_bytes,
        prefill_tokens_per_s=profile.prefill_tokens_per_s,
        decode_tokens_per_s=profile.decode_tokens_per_s,
        slots=best.settings.slots,
        embedding=best.settings.embedding,
        pinned=profile.pinned,
    )


def _asked_again(at_s: float, demand: events.Demand, output_tokens: int) -> Asked:
    goal = BATCH_GOAL if demand.class_ == Class.BATCH else EMBEDDING_GOAL if not output_tokens else INTERACTIVE_GOAL
    tokens = max(1, output_tokens)
    return Asked(at_s, demand.model, demand.client, demand.class_, demand.prompt_tokens, tokens, goal, demand.weight)


def size_model(size_bytes: float) -> SimModel:
    """As fast for its size as the 8B one."""
    scale = B8.size_bytes / size_bytes
    return replace(
        B8,
        name=f"{size_bytes / GB:g}gb",
        size_bytes=int(size_bytes),
        prefill_tokens_per_s=B8.prefill_tokens_per_s * scale,
        decode_tokens_per_s=B8.decode_tokens_per_s * scale,
    )


def _sized(by_rank: Sequence[str], sizes: Sequence[SimModel]) -> dict[str, SimModel]:
    """The trace's name of a model -> what it is here."""
    if sizes:
        return {one: replace(sizes[rank % len(sizes)], name=one or "model") for rank, one in enumerate(by_rank)}
    if len(by_rank) == 1:
        return {by_rank[0]: replace(B8, slots=16)}
    if len(by_rank) == LMSYS_MODELS:
        return {
            by_rank[rank - 1]: replace(size, name=f"{by_rank[rank - 1]}:{size.name}")
            for rank, size in zip(PRISM_RANKS, PRISM_SIZES, strict=True)
        }
    return {one: replace((B8, B8, B13)[index % 3], name=one) for index, one in enumerate(sorted(by_rank))}


def _someone(models: Sequence[str], record: Record, number: int) -> str:
    """Who asks, where the trace does not say: on LMSYS's arena the model stands for its users, elsewhere there are many."""
    if len(models) == LMSYS_MODELS:
        return record.model
    return f"user{number % (64 if len(models) == 1 else 16)}"


def _interactive(at_s: float, model: str, client: str, one: Record) -> Asked:
    return Asked(at_s, model, client, Class.INTERACTIVE, one.prompt_tokens, max(1, one.output_tokens), INTERACTIVE_GOAL)


def _until_s(asked: Sequence[Asked]) -> float:
    return max((one.at_s for one in asked), default=0.0) + 1.0
