"""The command `partage simulate`: policies compared on virtual time, and a hub's journal played again."""

from __future__ import annotations

import dataclasses
import math
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from partage.cli.terminal import Json, console, errors, print_json, table_of
from partage.config import load_config
from partage.deploy.machine import gpu_sizes
from partage.errors import InvalidRequest
from partage.json_value import JsonObject
from partage.policy.settings import PolicySettings
from partage.quantities import parse_bytes
from partage.sim import compare, picture, synthetic, trace
from partage.sim.compare import MakeWorkload, Summary
from partage.sim.machine import Machine, gpus
from partage.sim.replay import Replay, replay
from partage.sim.workload import GB, Workload

if TYPE_CHECKING:
    from rich.table import Table


LEAST_MODEL_BYTES = 1e6


def register(app: typer.Typer) -> None:
    app.command("simulate")(simulate_command)


def simulate_command(
    workload: Annotated[
        str,
        typer.Argument(help="hub-mix, alternation, flood, or a file: a trace (CSV, JSON lines) or a hub's journal."),
    ] = "hub-mix",
    policies: Annotated[
        str, typer.Option(help="Comma-separated; see --list.")
    ] = "partage,ollama-np4,llama-swap-matrix",
    machine: Annotated[str, typer.Option("--gpus", help="As in 2x24GiB, 24GiB+8GiB.")] = "24GB",
    load_speed: Annotated[float, typer.Option(help="GB/s from disk or host memory to a GPU.")] = 2.5,
    loads: Annotated[
        str, typer.Option(help="Comma-separated; of a trace, how much faster it is played.")
    ] = "0.3,0.6,1",
    seeds: Annotated[int, typer.Option(min=1, help="How many; of a trace, itself and others like it.")] = 3,
    minutes: Annotated[float, typer.Option(min=1, help="Length of a synthetic workload.")] = 60.0,
    sizes: Annotated[
        str, typer.Option(help="Of a trace's models, the most popular first, repeated: 16GB,6.5GB,1.2GB.")
    ] = "",
    html: Annotated[Path | None, typer.Option(help="Write the picture here.")] = None,
    again: Annotated[
        bool, typer.Option("--replay", help="Play a journal event by event and compare the decisions.")
    ] = False,
    list_: Annotated[bool, typer.Option("--list", help="List the policies.")] = False,
    as_json: Json = False,
) -> None:
    """Compare ways to share GPUs on virtual time, or play a hub's journal again."""
    with errors():
        if list_:
            console().print("\n".join(compare.POLICIES))
            return
        if again:
            _replay(Path(workload), as_json=as_json)
            return
        chosen = [one.strip() for one in policies.split(",")]
        unknown = [one for one in chosen if one not in compare.POLICIES]
        if unknown:
            raise InvalidRequest(f"no such policy: {', '.join(unknown)}; known: {', '.join(compare.POLICIES)}")
        sizes_bytes = gpu_sizes(machine)
        if not sizes_bytes:
            raise InvalidRequest("--gpus: at least one GPU is needed")
        simulated = gpus(*sizes_bytes, load_bytes_per_s=load_speed * GB)
        make, one_seed = _maker(workload, minutes, sizes)
        tried = _numbers(loads)
        rows = list(compare.rows(chosen, make, simulated, tried, range(1 if one_seed else seeds)))
        summaries = compare.summaries(rows)
        if html is not None:
            html.write_text(_picture(workload, summaries, chosen, make, simulated, tried), encoding="utf-8")
        if as_json:
            print_json([_to_json(one) for one in summaries])
        else:
            console().print(_table(summaries))


def _maker(name: str, minutes: float, sizes: str) -> tuple[MakeWorkload, bool]:
    """How to make the workload, and whether it is the same whatever the seed."""
    match name:
        case "hub-mix":
            return lambda seed, load: synthetic.hub_mix(seed, load, minutes=minutes), False
        case "flood":
            return lambda seed, load: synthetic.flood(seed, factor=20 * load, minutes=minutes), False
        case "alternation":
            models = (synthetic.LARGE, synthetic.CODE)
            return lambda _seed, load: synthetic.alternation(models, count=200, every_s=2.0 / load), True
        case _:
            path = Path(name)
            if not path.is_file():
                raise InvalidRequest(f"'{name}' is neither hub-mix, alternation or flood, nor a file")
            if trace.is_journal(path):
                read = trace.read_journal
            else:
                read = partial(trace.read_trace, sizes_bytes=_sizes_bytes(sizes) if sizes else ())

            @cache
            def at_load(load: float) -> Workload:
                return read(path, stretch=1.0 / load)

            return lambda seed, load: trace.resampled(at_load(load), seed), False


def _sizes_bytes(text: str) -> list[float]:
    sizes = [float(parse_bytes(part)) for part in text.split(",")]
    if min(sizes) < LEAST_MODEL_BYTES:
        raise InvalidRequest(
            f"--sizes {text}: there are no models of less than a megabyte; give units, as in 6.5GB,3GB"
        )
    return sizes


def _numbers(text: str) -> list[float]:
    try:
        numbers = [float(one) for one in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) <= 0:
        raise InvalidRequest(f"'{text}' is not a list of positive numbers, as in 0.3,0.6")
    return numbers


def _to_json(summary: Summary) -> JsonObject:
    """What is no number in JSON is null: nobody asked for batch work, or more than one in a hundred never got an answer."""
    fields: JsonObject = dataclasses.asdict(summary)
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in fields.items()
    }


def _table(summaries: list[Summary]) -> Table:
    table = table_of(
        "LOAD", "POLICY", "IN TIME", "+-", "TTFT P50", "P99", "BATCH", "WORST CLIENT", "SWAPS/H", "LOADING", "LONGEST",
    )  # fmt: skip
    for one in summaries:
        table.add_row(
            f"{one.load:g}",
            one.policy,
            f"{one.attainment:.1%}",
            f"{one.attainment_spread:.1%}",
            _seconds(one.first_token_p50_s, 2),
            _seconds(one.first_token_p99_s, 1),
            "-" if math.isnan(one.batch_attainment) else f"{one.batch_attainment:.1%}",
            f"{one.worst_client_attainment:.1%}",
            f"{one.swaps_per_hour:.0f}",
            f"{one.load_share:.0%}",
            f"{one.longest_wait_s:.0f} s",
        )
    return table


def _seconds(value: float, digits: int) -> str:
    """So late that it never came: refused, or not answered when the workload ended."""
    return "never" if math.isinf(value) else "-" if math.isnan(value) else f"{value:.{digits}f} s"


def _picture(
    title: str, summaries: list[Summary], chosen: list[str], make: MakeWorkload, machine: Machine, loads: list[float]
) -> str:
    example = make(0, loads[len(loads) // 2])
    return picture.page(title, summaries, [(one, compare.run(one, example, machine)) for one in chosen])


def _replay(path: Path, *, as_json: bool) -> None:
    hub = load_config().hub
    settings = PolicySettings(keep_alive_s=hub.keep_alive_s, queue_limit=hub.max_queue)
    found = replay(trace.journal_lines(path), settings)
    if as_json:
        print_json({"events": found.events, "actions": found.actions, "differences": len(found.differences)})
    else:
        console().print(_told(found))
    if found.differences:
        raise typer.Exit(1)


def _told(found: Replay) -> str:
    lines = [f"{found.events} events, {found.actions} actions, {len(found.differences)} differences"]
    for one in found.differences:
        lines += [f"at {one.at_s:.3f} s, {one.event}", f"  then: {one.then}", f"  now:  {one.now}"]
    return "\n".join(lines)
