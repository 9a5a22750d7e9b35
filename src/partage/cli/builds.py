"""The command `partage engine`: which llama.cpp serves here, and how to come to one that uses the GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from partage.cli.terminal import FAILED, errors
from partage.config import load_config
from partage.device.nvml import GpuReading, read_gpus
from partage.engine.builds import OWN_SERVER, ask, choose
from partage.engine.making import make_server
from partage.errors import EngineError

Source = Annotated[
    Path | None, typer.Option("--source", help="llama.cpp's source (.tar.gz), where there is no network.")
]
Work = Annotated[Path | None, typer.Option("--work", help="Keep source and build here, for the next time.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Which llama.cpp serves here, and how to come to one that uses the GPU.")
    group.callback(invoke_without_command=True)(engine_command)
    group.command("build")(build_command)
    app.add_typer(group, name="engine")


def engine_command(context: typer.Context) -> None:
    """Show which llama.cpp serves here, and what it can compute on. Exit code 1: there is a GPU that it cannot use."""
    if context.invoked_subcommand is not None:
        return
    with errors():
        config, gpus = load_config(), read_gpus()
        build = choose(config.hub.launcher, config.home, has_gpu=True)
    print(f"{build.name} serves")
    for device in build.devices or ():
        print(f"  {device}")
    if gpus and build.trouble is not None:
        print(f"{_named(gpus)} cannot be used: {build.trouble}; partage engine build, or docs/gpu.md")
        raise typer.Exit(FAILED)
    if not gpus:
        print("the driver shows no NVIDIA GPU here: models run on the CPU")


def build_command(source: Source = None, work: Work = None) -> None:
    """Build a llama-server for the NVIDIA GPUs of this machine, from llama.cpp's source. Takes cmake, g++, nvcc, and minutes."""
    with errors():
        home, gpus = load_config().home, read_gpus()
        if not gpus:
            raise EngineError(
                "the driver shows no NVIDIA GPU here: there is nothing to build for; see `partage doctor`"
            )
        target = home / OWN_SERVER
        make_server(target, [gpu.compute_capability or "native" for gpu in gpus], archive=source, work=work)
        build = ask(str(target))
    print(f"{target} is ready: {', '.join(build.devices or ()) or build.trouble}. Restart the hub.")


def _named(gpus: list[GpuReading]) -> str:
    return ", ".join(gpu.name for gpu in gpus)
