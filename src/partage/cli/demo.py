"""The command demo: pull what is missing, start everything, run the RMA demo on real files, report, stop everything."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import uvloop
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from partage.cli.library import show_steps
from partage.cli.terminal import Json, console, errors, print_json
from partage.config import Config, load_config
from partage.models.pull import pull
from partage.models.store import Store
from partage.serve.extras import require
from partage.serve.stack import running_stack

if TYPE_CHECKING:
    from partage.demo.outcome import DemoResult
    from partage.demo.run import Step

MODELS = ("smollm2:135m", "all-minilm:22m")


def register(app: typer.Typer) -> None:
    app.command("demo")(demo_command)


def demo_command(
    as_json: Json = False,
    keep: Annotated[Path | None, typer.Option("--keep", help="Keep the drawn documents in this directory.")] = None,
) -> None:
    """Process returned-goods papers, chat and answer questions, all at once through the hub; report; stop everything.

    Exit code 0 when everything that must hold did.
    """
    with errors():
        require("the demo", "documents", "rag")
        from partage.demo.report import render, to_json  # noqa: PLC0415 extras: --help is there without them

        result = uvloop.run(_demo(load_config(), keep, quiet=as_json))
        if as_json:
            print_json(to_json(result))
        else:
            render(result, console())
    raise typer.Exit(result.exit_code)


async def _demo(config: Config, keep: Path | None, *, quiet: bool) -> DemoResult:
    from partage.demo.run import Endpoints, run  # noqa: PLC0415

    task = asyncio.current_task()
    assert task is not None
    # A kill ends us in order too: the task is cancelled, and with it everything that was started.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    store = Store(config.home)
    for name in MODELS:
        if not store.exists(name):
            await show_steps(pull(store, name), f"{name} is ready", as_json=False)
    async with running_stack(config.home, ephemeral_ports=True, log_to_files=True) as stack:
        endpoints = Endpoints(
            hub_url=stack.urls["hub"],
            documents_url=stack.urls["documents"],
            rag_url=stack.urls["rag"],
            chat_key=stack.keys["chat"],
            admin_key=stack.keys["admin"],
            documents_key=stack.keys["documents"],
            rag_key=stack.keys["rag"],
        )
        with Progress(
            TextColumn("{task.description:12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console(),
            disable=quiet or not console().is_terminal,
        ) as progress:
            bars: dict[str, TaskID] = {}

            def show(step: Step) -> None:
                if step.phase not in bars:
                    bars[step.phase] = progress.add_task(step.phase, total=step.total)
                progress.update(bars[step.phase], completed=step.done, total=step.total)

            return await run(endpoints, out=keep, on_step=show)
