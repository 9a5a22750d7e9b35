"""The commands on what is in memory: ps, load, unload, pause, resume."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeAlias, TypeVar, cast

import typer

from partage.cli.terminal import Json, Url, console, errors, print_json, table_of
from partage.client.hub_client import HubClient
from partage.config import load_config
from partage.json_value import JsonObject
from partage.quantities import format_bytes
from partage.serve.services import hub_url

T = TypeVar("T")
Name: TypeAlias = Annotated[str, typer.Argument(help="The model's name, as in smollm2:135m.")]
ModelOrLease: TypeAlias = Annotated[str, typer.Argument(help="A model's name, or a lease's as `partage ps` shows it.")]


def register(app: typer.Typer) -> None:
    app.command("ps")(ps_command)
    app.command("load")(load_command)
    app.command("unload")(unload_command)
    app.command("pause")(pause_command)
    app.command("resume")(resume_command)


def ps_command(url: Url = None, as_json: Json = False) -> None:
    """Show what is in memory: models, where, how much, estimated against measured."""
    with errors():
        status = _ask(url, lambda hub: hub.status())
    if as_json:
        print_json(status)
        return
    residents = cast("list[JsonObject]", status.get("residents", []))
    devices = cast("list[JsonObject]", status.get("devices", []))
    table = table_of("MODEL", "STATE", "ON", "LEDGER", "ESTIMATED", "MEASURED", "SERVING", "CONTEXT")
    for one in residents:
        table.add_row(
            str(one["model"]) + (" (pinned)" if one["pinned"] else ""),
            f"{one['state']} {one['how']}",
            ", ".join(cast("list[str]", one["devices"])) or ("RAM" if one["state"] == "parked" else "adopted"),
            _size(one["ledger_bytes"]),
            _size(one["estimated_bytes"]),
            _size(one["measured_bytes"]),
            f"{one['serving']} of {one['slots']}",
            str(one["context_tokens"]),
        )
    console().print(table if residents else "no model is in memory")
    here = {str(one["model"]) for one in residents}
    for name in cast("list[str]", status.get("paused_by_hand", [])):
        if name not in here:
            console().print(f"{name}: paused by hand, and not in memory; partage resume {name}")
    for one in cast("list[JsonObject]", status.get("leases", [])):
        console().print(_lease_line(one))
    for device in devices:
        free, budget = _size(device["free_bytes"]), _size(device["budget_bytes"])
        console().print(f"{device['name']}: {free} free of {budget}")


def _lease_line(one: JsonObject) -> str:
    if one["state"] == "waiting":
        return f"lease {one['id']}: {_size(one['bytes'])} for {one['client']}, waiting at place {one['position']}"
    used, state = _size(one["measured_bytes"]), f"{one['state']} {one['how']}".rstrip()
    return f"lease {one['id']}: {_size(one['bytes'])} of {one['device']} for {one['client']}, {state}, {used} used"


def load_command(name: Name, url: Url = None) -> None:
    """Load a model, waiting for its turn."""
    with errors():
        _ask(url, lambda hub: hub.load(name))
    print(f"loaded {name}")


def unload_command(name: Name, url: Url = None) -> None:
    """Take a model out of memory as soon as nobody uses it."""
    with errors():
        _ask(url, lambda hub: hub.unload(name))
    print(f"unloaded {name}")


def pause_command(name: ModelOrLease, url: Url = None) -> None:
    """Let a model or the holder of a lease compute nothing until `partage resume`; those it serves wait meanwhile."""
    with errors():
        _ask(url, lambda hub: _pause(hub, name, paused=True))
    print(f"paused {name}")


def resume_command(name: ModelOrLease, url: Url = None) -> None:
    """Let a model or the holder of a lease go on that was paused by hand."""
    with errors():
        _ask(url, lambda hub: _pause(hub, name, paused=False))
    print(f"{name} goes on")


async def _pause(hub: HubClient, name: str, *, paused: bool) -> None:
    if any(lease["id"] == name for lease in await hub.leases()):
        await hub.pause_lease(name, paused=paused)
    else:
        await hub.pause(name, paused=paused)


def _ask(url: str | None, question: Callable[[HubClient], Awaitable[T]]) -> T:
    config = load_config()
    admin = config.clients.get("admin")

    async def asked() -> T:
        async with HubClient(url or hub_url(config), api_key=admin.key if admin else None) as hub:
            return await question(hub)

    return asyncio.run(asked())


def _size(value: object) -> str:
    return format_bytes(value) if isinstance(value, int | float) else "-"
