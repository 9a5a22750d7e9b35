"""The commands on deployment: compose, plan, health, and lint for who comes here by way of typer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from partage.cli import lint
from partage.cli.terminal import FAILED, Json, console, errors, print_json, table_of, with_scheme
from partage.errors import ConfigError, InvalidRequest
from partage.quantities import format_bytes, parse_bytes

if TYPE_CHECKING:
    from partage.deploy.plan import Plan


def register(app: typer.Typer) -> None:
    as_it_is = {"ignore_unknown_options": True, "allow_extra_args": True}
    app.command("lint", help=lint.SUMMARY, add_help_option=False, context_settings=as_it_is)(lint_command)
    app.command("compose")(compose_command)
    app.command("plan")(plan_command)
    app.command("health")(health_command)


def lint_command(context: typer.Context) -> None:
    raise typer.Exit(lint.main(context.args))


def plan_command(
    models: Annotated[list[str], typer.Argument(help="Model names, GGUF files, or a compose file that names models.")],
    gpus: Annotated[str | None, typer.Option("--gpus", help="Plan for these, as in 1x8GiB, 2x24GiB, none.")] = None,
    memory: Annotated[str, typer.Option("--memory", help="With --gpus: RAM that models may use.")] = "16GiB",
    context: Annotated[int, typer.Option("--context", min=256, help="Tokens of context per slot.")] = 4096,
    slots: Annotated[int, typer.Option("--slots", min=1, max=64, help="Requests a model serves at once.")] = 4,
    kv_type: Annotated[Literal["f16", "q8_0", "q4_0"], typer.Option("--kv-type", help="Type of the KV cache.")] = "f16",
    as_json: Json = False,
) -> None:
    """Tell whether these models fit together on this machine, with how many slots, and what would fit instead.

    Exit code 0: as asked for; 1: not, or only with less.
    """
    from partage.config import load_config  # noqa: PLC0415
    from partage.deploy import plan as planning  # noqa: PLC0415
    from partage.deploy.machine import described_machine, pinned_gpus, this_machine  # noqa: PLC0415
    from partage.deploy.wanted import resolve  # noqa: PLC0415
    from partage.models.store import Store  # noqa: PLC0415

    with errors():
        config = load_config()
        try:
            devices = described_machine(gpus, parse_bytes(memory)) if gpus is not None else this_machine(config)
        except InvalidRequest as error:
            raise ConfigError(f"--gpus or --memory: {error.message}") from None
        terms = planning.Terms(context_tokens=context, slots=slots, kv_type=kv_type, gpus=pinned_gpus(config, devices))
        made = planning.plan(resolve(models, Store(config.home)), devices, terms)
    if as_json:
        print_json(planning.as_json(made))
    else:
        _show_plan(made)
    raise typer.Exit(0 if made.as_wished else FAILED)


def _show_plan(made: Plan) -> None:
    from partage.deploy import plan as planning  # noqa: PLC0415

    names = {device.id: device.name for device in made.devices}
    columns = (
        "MODEL",
        "FROM",
        "ON",
        "CONTEXT",
        "SLOTS",
        "WEIGHTS",
        "+ KV",
        "+ COMPUTE",
        "+ VISION",
        "+ OTHER",
        "= TOTAL",
    )
    table = table_of(*columns)
    for row in made.rows:
        parts, settings = planning.footprint_of(row), row.placement.settings
        on = " + ".join(names[device] for device, _ in row.placement.shares)
        most = planning.most_slots(made, row) if row.fits else settings.slots
        table.add_row(
            row.wanted.name,
            row.wanted.origin,
            on if row.fits else "nowhere",
            str(settings.context_tokens),
            f"{settings.slots} (up to {most})" if most > settings.slots else str(settings.slots),
            format_bytes(parts.weights_bytes),
            format_bytes(parts.kv_bytes),
            format_bytes(parts.compute_bytes),
            format_bytes(parts.projector_bytes) if parts.projector_bytes else "-",
            format_bytes(planning.other_bytes(parts)),
            format_bytes(parts.total_bytes),
        )
    console().print(table)
    for row in made.rows:
        if row.why:
            on = " + ".join(names[device] for device, _ in row.placement.shares)
            print(f"{row.wanted.name} on {on}: {row.why}")
    for device in made.devices:
        used = made.used_bytes(device.id)
        reserve = f" (its {format_bytes(device.total_bytes)} less {format_bytes(device.reserve_bytes)} kept free)"
        print(
            f"{device.name}: peak {format_bytes(used)} of {format_bytes(device.budget_bytes)}"
            f"{reserve if device.reserve_bytes else ''}; {format_bytes(device.budget_bytes - used)} left"
        )
    print(planning.verdict(made))
    for words in planning.instead(made):
        print(f"would fit: {words}")


def compose_command(
    profiles: Annotated[
        list[str] | None,
        typer.Argument(
            help="cpu, low-vram, single-gpu, multi-gpu or with-ollama; mps, observability. Default: what fits."
        ),
    ] = None,
    gpus: Annotated[
        str | None, typer.Option("--gpus", help="For these instead of this machine's, as in 2x24GiB.")
    ] = None,
    memory: Annotated[str, typer.Option("--memory", help="With --gpus: RAM that models may use.")] = "16GiB",
    models: Annotated[str, typer.Option("--models", help="Models to plan for, with commas.")] = "",
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory for the files.")] = Path(),
    docker: Annotated[
        bool, typer.Option("--docker-socket", help="Let the hub ask Docker who calls: clients by container and label.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Compare with what is there; write nothing.")] = False,
    to_stdout: Annotated[bool, typer.Option("--print", help="Print the compose file; write nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that differ.")] = False,
) -> None:
    """Write compose.yaml, .env, configuration and keys for this machine or a described one.

    Exit code 0: written, or with --check the same; 1: it differs; 2: the arguments are wrong.
    """
    from partage.config import load_config  # noqa: PLC0415
    from partage.deploy import stack as stacks  # noqa: PLC0415
    from partage.deploy.machine import described_machine, pinned_gpus, this_machine  # noqa: PLC0415
    from partage.deploy.wanted import resolve  # noqa: PLC0415
    from partage.models.store import Store  # noqa: PLC0415

    with errors():
        config = load_config()
        try:
            devices = described_machine(gpus, parse_bytes(memory)) if gpus is not None else this_machine(config)
            chosen = stacks.choose_profiles(profiles or [], devices)
        except InvalidRequest as error:
            raise ConfigError(error.message) from None
        names = [name.strip() for name in models.split(",") if name.strip()] or stacks.DEFAULT_MODELS
        wanted = resolve(names, Store(config.home))
        gid = _docker_gid() if docker else None
        stack = stacks.make_stack(chosen, devices, wanted, docker_gid=gid, pinned=pinned_gpus(config, devices))
        if to_stdout:
            print(stack.files["compose.yaml"], end="")
            return
        changed = stacks.differences(stack, output)
        if check:
            print("\n".join(changed) if changed else f"{output / 'compose.yaml'} is what would be written")
            raise typer.Exit(FAILED if changed else 0)
        lost = stacks.overwritten(stack, output)
        if lost and not force:
            typer.echo(f"partage: {lost[0]} is there and differs; see --check, or --force to overwrite it", err=True)
            raise typer.Exit(FAILED)
        for name in stacks.write_stack(stack, output):
            print(output / name)


def _docker_gid() -> int:
    """Of the socket here; 999, which Debian's package takes, where there is none to ask."""
    try:
        return Path("/var/run/docker.sock").stat().st_gid
    except OSError:
        return 999


def health_command(
    service: Annotated[Literal["hub", "documents", "rag", "dashboard"], typer.Argument(help="Which one.")] = "hub",
    url: Annotated[
        str | None,
        typer.Option("--url", callback=with_scheme, help="Where it is. Default: its configured port on this machine."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Ask this model, loading it if need be. Default: one that is loaded.")
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds.")] = 20.0,
) -> None:
    """Tell whether a service can serve: of the hub, by one token from a model that is loaded. For healthchecks.

    Exit code 0: it can; 1: it cannot.
    """
    from datetime import UTC, datetime  # noqa: PLC0415

    from partage.config import load_config  # noqa: PLC0415
    from partage.deploy.canary import check  # noqa: PLC0415
    from partage.serve.services import url_here  # noqa: PLC0415

    with errors():
        config = load_config()
        client = config.clients.get("health") or config.clients.get("admin")
        address = url or url_here(getattr(config, service))
        key = client.key if client else None
        print(asyncio.run(check(service, address, key, timeout, model, datetime.now(UTC))))
