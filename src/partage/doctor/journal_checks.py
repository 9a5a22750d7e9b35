"""Symptoms in the hub's journal, each with its cause."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from partage.doctor.finding import Finding
from partage.doctor.machine import Machine

LOADING_SHARE = 0.25
LEAST_SPAN_S = 600.0
LEAST_EVICTIONS = 6
SLOW_LOAD_S = 60.0
CRASHES = 3
LEAST_REQUESTS = 20

LOOKED_AT = "the hub's journal"


def thrash(machine: Machine) -> Iterator[Finding]:
    seen = machine.symptoms
    if seen.spanned_s < LEAST_SPAN_S:
        return
    share = seen.loading_s / seen.spanned_s
    often = {model: count for model, count in seen.evictions.items() if count >= LEAST_EVICTIONS}
    if share > LOADING_SHARE and often:
        yield Finding(
            severity="warning",
            looked_at=LOOKED_AT,
            found=f"{share:.0%} of the time went into loading; most often pushed out: {_counts(often)}",
            why="Poor performance with multiple containers: models that are wanted at once do not fit together",
            mend="partage simulate --help   # tries smaller contexts on this journal; then models.NAME.context, or keep: pinned",
        )


def spills(machine: Machine) -> Iterator[Finding]:
    if machine.symptoms.spills:
        yield Finding(
            severity="warning",
            looked_at=LOOKED_AT,
            found=f"loaded with layers on the CPU: {_counts(machine.symptoms.spills)}",
            why="Poor performance: such a model is several times slower than one that is whole on the GPU",
            mend="partage plan   # says what fits; then a smaller models.NAME.context, fewer slots, or kv_type: q8_0",
        )


def out_of_memory(machine: Machine) -> Iterator[Finding]:
    if machine.symptoms.out_of_memory:
        yield Finding(
            severity="warning",
            looked_at=LOOKED_AT,
            found=f"CUDA out of memory while loading: {_counts(machine.symptoms.out_of_memory)}",
            why="somebody beside the hub took what was promised, or the estimate was short",
            mend="partage ps   # who holds what; then in partage.yaml: devices: [{gpu: 0, reserve: 2GiB}]",
        )


def crashes(machine: Machine) -> Iterator[Finding]:
    often = {model: count for model, count in machine.symptoms.crashes.items() if count >= CRASHES}
    if often:
        yield Finding(
            severity="error",
            looked_at=LOOKED_AT,
            found=f"engines that failed or died: {_counts(often)}",
            why="a damaged file, or a model this llama.cpp does not know",
            mend=f"partage rm {next(iter(often))} && partage pull {next(iter(often))}",
        )


def slow_loads(machine: Machine) -> Iterator[Finding]:
    slowest = machine.symptoms.slowest_load
    if slowest is not None and slowest[1] > SLOW_LOAD_S:
        yield Finding(
            severity="warning",
            looked_at=LOOKED_AT,
            found=f"{slowest[0]} took {slowest[1]:.0f} s to load",
            why="clients give up before their first token; the disk, or too little memory for the page cache",
            mend=f"partage doctor   # the checks disk and page_cache; or models: {{{slowest[0]}: {{keep: pinned}}}}",
        )


def keep_alive(machine: Machine) -> Iterator[Finding]:
    for client, (own, count) in machine.symptoms.keep_alives.items():
        if own >= LEAST_REQUESTS and own > count / 2:
            yield Finding(
                severity="hint",
                looked_at=LOOKED_AT,
                found=f"{client} sets keep_alive itself in {own} of {count} requests",
                why="the server's keep_alive is overruled: models leave too early, or hold memory nobody uses",
                mend=f"remove keep_alive from the requests of {client}, and set hub.keep_alive or models.NAME.keep_alive",
            )


def _counts(counts: Mapping[str, int]) -> str:
    most = sorted(counts.items(), key=lambda item: -item[1])[:4]
    return ", ".join(f"{model} {count} times" for model, count in most)
