"""Servers that are adopted, not started: which models they offer, asked again from time to time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp
import msgspec

from partage.config import Config
from partage.config_sections import RemoteConfig
from partage.domain import Remote
from partage.errors import InvalidRequest
from partage.hub.library import Library
from partage.models.names import canonical

log = logging.getLogger(__name__)

EVERY_S = 30.0
TIMEOUT_S = 3.0


class _Named(msgspec.Struct):
    name: str = ""
    id: str = ""


class _Listed(msgspec.Struct):
    models: list[_Named] = []
    """Of an Ollama server's /api/tags."""
    data: list[_Named] = []
    """Of /v1/models."""


@asynccontextmanager
async def adopting(config: Config, library: Library) -> AsyncGenerator[None]:
    """Offer the models of all adopted servers while inside; those that are not configured by name are asked for."""
    adoption = _Adoption(config, library)
    if not adoption.asks:
        yield
        return
    await adoption.ask_all()
    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(adoption.keep_asking(), name="ask adopted servers")
        try:
            yield
        finally:
            asking.cancel()


class _Adoption:
    def __init__(self, config: Config, library: Library) -> None:
        self._library = library
        self._entries = config.remotes
        self._offered = {name: entry.models or () for name, entry in config.remotes.items()}
        self._silent: set[str] = set()
        self._left_out: set[tuple[str, str]] = set()
        self.asks = [name for name, entry in config.remotes.items() if entry.models is None]
        self._adopt()

    async def keep_asking(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            await self.ask_all()

    async def ask_all(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for name in self.asks:
                tasks.create_task(self._ask(name))
        self._adopt()

    async def _ask(self, name: str) -> None:
        """A server that does not answer keeps what it offered before: it may only be slow."""
        try:
            offered = await offered_by(self._entries[name])
        # TimeoutError is an OSError, MsgspecError a ValueError.
        except (OSError, aiohttp.ClientError, ValueError) as error:
            if name not in self._silent:
                log.warning("remotes.%s does not say what models it has: %s", name, error or type(error).__name__)
            self._silent.add(name)
        else:
            self._silent.discard(name)
            self._offered[name] = tuple(model for model in offered if self._can_be_asked_for(name, model))

    def _can_be_asked_for(self, server: str, model: str) -> bool:
        """VLLM calls a model by the path it was given, if it is told nothing else."""
        try:
            canonical(model)
        except InvalidRequest as error:
            if (server, model) not in self._left_out:
                log.warning("remotes.%s: a model is left out, give it another name there: %s", server, error.message)
            self._left_out.add((server, model))
            return False
        return True

    def _adopt(self) -> None:
        """Of two servers with one model the first in the configuration has it."""
        remotes: dict[str, Remote] = {}
        for name, entry in self._entries.items():
            for model in self._offered[name]:
                remotes.setdefault(model, _remote(entry, model))
        self._library.adopt(remotes)


def _remote(entry: RemoteConfig, model: str) -> Remote:
    return Remote(kind=entry.kind, url=entry.url, slots=entry.slots, key=entry.key or "", model=model)


async def offered_by(entry: RemoteConfig) -> tuple[str, ...]:
    """Raises OSError, aiohttp.ClientError, msgspec.MsgspecError."""
    path = "/api/tags" if entry.kind == "ollama" else "/v1/models"
    headers = {"Authorization": f"Bearer {entry.key}"} if entry.key else {}
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with (
        aiohttp.ClientSession(timeout=timeout, headers=headers, raise_for_status=True) as session,
        session.get(entry.url.rstrip("/") + path) as answer,
    ):
        listed = msgspec.json.decode(await answer.read(), type=_Listed)
    return tuple(name for one in (*listed.models, *listed.data) if (name := one.name or one.id))
