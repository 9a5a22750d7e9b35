"""Reads requests from files: public traces as CSV, and the journal of a live hub.

Formats: Azure LLM inference 2023 (TIMESTAMP, ContextTokens, GeneratedTokens), the LMSYS-27 extract of the VTC artifact
(arrival_s, model, input_tokens, output_tokens), Aegaeon's synthetic ones (Request Time, Model Name, Input Length, Output
Length). A trace says nothing of memory, so each reader takes the models to map onto.
"""

from __future__ import annotations

import csv
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from partage.domain import Class
from partage.errors import PartageError
from partage.journal_format import EventLine, JournalLine, parse_lines
from partage.policy import events
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
"""Which of the 27 by popularity, and as what size: Prism's choice of eight."""


class TraceUnreadable(PartageError):
    """The trace is not in a format that is known."""


def read_trace(path: Path, *, stretch: float = 1.0) -> Workload:
    """The format is told by the header of the file; `stretch` 2 halves the rate."""
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            rows = list(csv.reader(lines))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TraceUnreadable(f"{path}: {error}") from error
    header, *rest = rows or [[]]
    try:
        match header:
            case ["arrival_s", "model", *_]:
                return _lmsys(path.stem, rest, stretch)
            case ["Request Time", "Model Name", *_]:
                return _aegaeon(path.stem, rest, stretch)
            case ["TIMESTAMP", "ContextTokens", *_]:
                return _azure(path.stem, rest, stretch)
            case _:
                raise TraceUnreadable(f"{path}: the header {header} is of no known trace")
    except (ValueError, IndexError) as error:
        raise TraceUnreadable(f"{path}: {error}") from error


def journal_lines(path: Path) -> Iterator[JournalLine]:
    """Raises TraceUnreadable."""
    try:
        with path.open("rb") as lines:
            yield from parse_lines(lines)
    except OSError as error:
        raise TraceUnreadable(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise TraceUnreadable(f"{path} is no journal of a hub ({error}); public traces end in .csv") from error


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


def _lmsys(name: str, rows: Sequence[Sequence[str]], stretch: float) -> Workload:
    by_rank = [model for model, _ in Counter(row[1] for row in rows).most_common()]
    chosen = {
        by_rank[rank - 1]: replace(size, name=f"{by_rank[rank - 1]}:{size.name}")
        for rank, size in zip(PRISM_RANKS, PRISM_SIZES, strict=True)
        if rank <= len(by_rank)
    }
    parsed = [(float(row[0]), row[1], int(row[2]), int(row[3])) for row in rows]
    asked = [
        _interactive(at_s * stretch, chosen[model].name, model, prompt, output)
        for at_s, model, prompt, output in parsed
        if model in chosen
    ]
    return workload(f"{name} x{stretch:g}", tuple(chosen.values()), asked, _until_s(asked))


def _aegaeon(name: str, rows: Sequence[Sequence[str]], stretch: float) -> Workload:
    names = sorted({row[1] for row in rows})
    models = {one: replace((B8, B8, B13)[index % 3], name=one) for index, one in enumerate(names)}
    asked = [
        _interactive(_clock_s(row[0]) * stretch, row[1], f"user{index % 16}", int(row[2]), int(row[3]))
        for index, row in enumerate(rows)
    ]
    return workload(f"{name} x{stretch:g}", tuple(models.values()), asked, _until_s(asked))


def _azure(name: str, rows: Sequence[Sequence[str]], stretch: float) -> Workload:
    """One model only: the trace names none."""
    start = datetime.fromisoformat(rows[0][0][:26]) if rows else datetime.min  # noqa: DTZ901 - differences only
    asked = [
        _interactive(
            (datetime.fromisoformat(row[0][:26]) - start).total_seconds() * stretch,
            B8.name,
            f"user{index % 64}",
            int(row[1]),
            int(row[2]),
        )
        for index, row in enumerate(rows)
    ]
    return workload(f"{name} x{stretch:g}", (replace(B8, slots=16),), asked, _until_s(asked))


def _interactive(at_s: float, model: str, client: str, prompt: int, output: int) -> Asked:
    return Asked(at_s, model, client, Class.INTERACTIVE, prompt, max(1, output), INTERACTIVE_GOAL)


def _clock_s(text: str) -> float:
    hours, minutes, seconds = text.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _until_s(asked: Sequence[Asked]) -> float:
    return max((one.at_s for one in asked), default=0.0) + 1.0
