"""The commands that serve: up, hub, documents, rag."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec
import typer
import uvloop

from partage.cli.terminal import console, errors
from partage.config import Config, load_config
from partage.serve.extras import BRINGS, how_to_install, is_installed

ConfigFile: TypeAlias = Annotated[
    Path | None,
    typer.Option("--config", help="Configuration. Default: $PARTAGE_CONFIG, ./partage.yaml, ~/.partage/partage.yaml."),
]
Host: TypeAlias = Annotated[str | None, typer.Option("--host", help="Address to listen on. Default: loopback only.")]
Port: TypeAlias = Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Port; 0 takes any.")]
Announce: TypeAlias = Annotated[
    bool, typer.Option("--announce", help='Print {"ready": URL} on stdout once it listens, for a supervisor.')
]
Verbose: TypeAlias = Annotated[bool, typer.Option("--verbose", "-v", help="Log every detail.")]


def register(app: typer.Typer) -> None:
    app.command("up")(up_command)
    app.command("hub")(hub_command)
    app.command("documents")(documents_command)
    app.command("rag")(rag_command)


def up_command(config: ConfigFile = None, verbose: Verbose = False) -> None:
    """Start the hub, and of documents, rag and dashboard what is installed; Ctrl-C stops them."""
    _log(verbose)
    with errors():
        uvloop.run(_up(load_config(config), config))


def hub_command(
    host: Host = None,
    port: Port = None,
    config: ConfigFile = None,
    announce: Announce = False,
    verbose: Verbose = False,
) -> None:
    """Serve the Ollama and OpenAI APIs (port 11434) and own the memory."""
    from partage.serve.hub_service import run_hub  # noqa: PLC0415 each command pays for its own imports only

    serve_command("hub", run_hub, config, host=host, port=port, announce=announce, verbose=verbose)


def documents_command(
    host: Host = None,
    port: Port = None,
    config: ConfigFile = None,
    announce: Announce = False,
    verbose: Verbose = False,
) -> None:
    """Serve the document processor (port 8101): pages and fields of PDF and images."""
    from partage.serve.services import run_documents  # noqa: PLC0415

    serve_command("documents", run_documents, config, host=host, port=port, announce=announce, verbose=verbose)


def rag_command(
    host: Host = None,
    port: Port = None,
    config: ConfigFile = None,
    announce: Announce = False,
    verbose: Verbose = False,
) -> None:
    """Serve the RAG service (port 8102): documents in, answers with citations out."""
    from partage.serve.services import run_rag  # noqa: PLC0415

    serve_command("rag", run_rag, config, host=host, port=port, announce=announce, verbose=verbose)


Run: TypeAlias = Callable[..., Coroutine[None, None, None]]


def serve_command(
    name: str, run: Run, file: Path | None, *, host: str | None, port: int | None, announce: bool, verbose: bool
) -> None:
    _log(verbose)
    with errors():
        config = load_config(file)
        given = {key: value for key, value in (("host", host), ("port", port)) if value is not None}
        section = msgspec.structs.replace(getattr(config, name), **given)
        uvloop.run(run(msgspec.structs.replace(config, **{name: section}), announce=announce))


async def _up(config: Config, file: Path | None) -> None:
    from partage.serve.stack import running_stack  # noqa: PLC0415

    services = ("hub", *filter(is_installed, BRINGS))
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with running_stack(config.home, services=services, config=file) as stack:
        for name, url in stack.urls.items():
            console().print(f"{name:10} {url}")
        for name in BRINGS:
            if name not in stack.urls:
                console().print(f"{name:10} not installed: {how_to_install(name)}", markup=False)
        console().print("Ctrl-C stops them all.")
        await stopped.wait()


def _log(verbose: bool) -> None:
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    for chatty in ("uvicorn.error", "httpx", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
