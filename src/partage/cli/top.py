"""The command `partage top`: who is in memory, who waits, what is wrong, once a second; acts from the keyboard."""

from __future__ import annotations

import asyncio
import sys

import typer

from partage.cli.terminal import Url, errors
from partage.client.hub_client import HubClient
from partage.config import load_config
from partage.errors import ConfigError
from partage.serve.extras import require
from partage.serve.services import hub_url


def register(app: typer.Typer) -> None:
    app.command("top")(top_command)


def top_command(url: Url = None) -> None:
    """Watch devices, models, clients, queue and alerts in the terminal; sort, filter, unload, pin, pause from the keyboard."""
    with errors():
        asyncio.run(_top(url))


async def _top(url: str | None) -> None:
    require("partage top", "dashboard")
    if not (sys.stdin.isatty() and sys.stderr.isatty()):  # it would draw on stderr, for ever
        raise ConfigError("partage top needs a terminal; for programs: partage ps --json")
    from partage.cli.top_rows import Picture  # noqa: PLC0415 an extra: the other commands run without it
    from partage.cli.top_screen import TopApp  # noqa: PLC0415

    config = load_config()
    admin = config.clients.get("admin")
    async with HubClient(
        url or hub_url(config), api_key=admin.key if admin else None, timeout_s=15.0, retry=False
    ) as hub:

        async def ask() -> Picture:
            return Picture(status=await hub.status(), alerts=await hub.alerts(), machine=await hub.machine())

        await TopApp(ask, hub).run_async()
