"""The commands that bring models here, make them and send them away: pull, push, create, cp."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from partage.cli.terminal import Json, errors
from partage.config import load_config
from partage.errors import InvalidRequest
from partage.models.create import Recipe, recipe_of
from partage.models.modelfile import parse
from partage.models.progress import PullProgress
from partage.models.workshop import Workshop
from partage.serve.fit import fitting
from partage.serve.shop import workshop_of

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

Home: TypeAlias = Annotated[
    Path | None, typer.Option("--home", help="Where models are kept. Default: $PARTAGE_HOME, else ~/.partage.")
]
Insecure: TypeAlias = Annotated[
    bool, typer.Option("--insecure", help="Speak http to the registry. To a loopback address it is always allowed.")
]


def register(app: typer.Typer) -> None:
    app.command("pull")(pull_command)
    app.command("push")(push_command)
    app.command("create")(create_command)
    app.command("cp")(copy_command)


def pull_command(
    names: Annotated[
        list[str],
        typer.Argument(help="Models to fetch: smollm2:135m, HOST/library/llama3.2, hf.co/USER/REPO:Q4_K_M ..."),
    ],
    home: Home = None,
    as_json: Json = False,
    insecure: Insecure = False,
    fit: Annotated[
        bool, typer.Option("--fit", help="Take the best variant that fits this machine beside what is configured.")
    ] = False,
) -> None:
    """Fetch models. What has arrived when it is stopped is used by the next pull."""
    with errors():
        workshop = _workshop(home)
        for name in names:
            chosen = asyncio.run(_show_fit(workshop, name, insecure=insecure)) if fit else name
            asyncio.run(show_steps(workshop.pull(chosen, insecure=insecure), f"{chosen} is ready", as_json=as_json))


def push_command(
    name: Annotated[str, typer.Argument(help="HOST/NAMESPACE/MODEL:TAG, or without HOST for the configured registry.")],
    home: Home = None,
    as_json: Json = False,
    insecure: Insecure = False,
) -> None:
    """Send a model to a registry. `partage cp` gives it the name it is to have there."""
    with errors():
        steps = _workshop(home).push(name, insecure=insecure)
        asyncio.run(show_steps(steps, f"{name} is sent", as_json=as_json))


def create_command(
    name: Annotated[str, typer.Argument(help="The name of the new model.")],
    file: Annotated[Path | None, typer.Option("--file", "-f", help="A Modelfile. Default: ./Modelfile.")] = None,
    from_: Annotated[str | None, typer.Option("--from", help="A model or GGUF file, in place of a Modelfile.")] = None,
    quantise: Annotated[
        str, typer.Option("--quantise", "--quantize", "-q", help="Store the weights as q8_0, q4_0, q4_K_M ...")
    ] = "",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Make a model of another one or of GGUF files."""
    with errors():
        recipe = _recipe(file, from_, quantise)
        asyncio.run(show_steps(_workshop(home).create(name, recipe), f"{name} is ready", as_json=as_json))


def copy_command(
    source: Annotated[str, typer.Argument(help="The model.")],
    destination: Annotated[str, typer.Argument(help="Its second name.")],
    home: Home = None,
) -> None:
    """Give a model a second name; its files are shared."""
    with errors():
        asyncio.run(_workshop(home).copy(source, destination))
    print(f"copied {source} to {destination}")


async def show_steps(steps: AsyncGenerator[PullProgress, None], done: str, *, as_json: bool) -> None:
    async with aclosing(steps):
        if as_json:
            async for step in steps:
                line = {"status": step.status, "digest": step.digest}
                _print_line({**line, "total": step.total_bytes, "completed": step.completed_bytes})
            _print_line({"status": "success"})
            return
        if sys.stdout.isatty():
            await _show_bars(steps)
        else:
            told = ""
            async for step in steps:
                if step.status != told:
                    told = step.status
                    print(told, flush=True)
        print(done)


async def _show_bars(steps: AsyncGenerator[PullProgress, None]) -> None:
    """One bar per status, in the order they come."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        bars: dict[str, TaskID] = {}
        last: TaskID | None = None
        async for step in steps:
            if step.status not in bars:
                _fill(progress, last)
                bars[step.status] = progress.add_task(step.status, total=step.total_bytes)
            last = bars[step.status]
            progress.update(last, completed=step.completed_bytes or 0)
        _fill(progress, last)


def _fill(progress: Progress, bar: TaskID | None) -> None:
    if bar is not None:
        progress.update(bar, total=(total := progress.tasks[bar].total or 1), completed=total)


async def _show_fit(workshop: Workshop, name: str, *, insecure: bool) -> str:
    """Say on stderr why which variant is taken."""
    choice = await fitting(load_config(), workshop, name, insecure=insecure)
    for line in choice.lines:
        print(line, file=sys.stderr)
    return choice.name


def _recipe(file: Path | None, from_: str | None, quantise: str) -> Recipe:
    """Raises InvalidRequest, Unsupported."""
    if from_ is not None:
        if file is not None:
            raise InvalidRequest("give --from or --file, not both")
        return recipe_of(parse(f"FROM {from_}"), Path.cwd(), quantise=quantise)
    path = file or Path("Modelfile")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path} cannot be read: {error}") from error
    return recipe_of(parse(text), path.parent, quantise=quantise)


def _workshop(home: Path | None) -> Workshop:
    return workshop_of(load_config(), home=home)


def _print_line(value: dict[str, object]) -> None:
    print(json.dumps(value, ensure_ascii=False), flush=True)
