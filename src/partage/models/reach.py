"""How registries are reached, and which: for whom the hub serves, public ones, and those that the configuration names."""

from __future__ import annotations

import urllib.request
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse
from yarl import URL

from partage import __version__
from partage.errors import Forbidden
from partage.public_addresses import CheckingResolver, is_address, is_public

_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """From the configuration, and from what one pull was asked for."""

    registry: str = ""
    """Where names without a host are looked for: "registry.example.com", or a URL."""
    insecure: bool = False
    """http is allowed; to a loopback address it always is."""
    streams: int = 4
    """Connections per file."""
    private: frozenset[str] | None = None
    """HOST or HOST:PORT of this machine or its network that may be asked; None: all, for who sits at this machine."""


ANYWHERE = Reach()


@asynccontextmanager
async def open_session(reach: Reach, *configured: URL) -> AsyncGenerator[aiohttp.ClientSession]:
    """`configured`: what may be asked wherever it is. Proxies come from the environment, as everywhere on the machine."""
    # Compressed answers have other digests and other ranges.
    headers = {"Accept-Encoding": "identity", "User-Agent": f"partage/{__version__}"}
    async with aiohttp.ClientSession(
        headers=headers, timeout=_TIMEOUT, trust_env=True, auto_decompress=False, **_guard(reach, configured)
    ) as session:
        yield session


def _guard(reach: Reach, configured: Sequence[URL]) -> dict[str, Any]:
    """Redirects and the places that hand out tokens are others' words as well: every request of the session is looked at."""
    if reach.private is None:
        return {}
    proxies = [URL(address) for address in urllib.request.getproxies().values() if "://" in address]
    may_be_private = reach.private | {f"{url.host}:{url.port}" for url in (*configured, *proxies)}

    def check(host: str, port: int | None, addresses: Sequence[str]) -> None:
        if not may_be_private.isdisjoint((host, f"{host}:{port}")) or (addresses and all(map(is_public, addresses))):
            return
        raise Forbidden(
            f"{host}:{port} is on this machine or in its network, where the hub asks only whom the configuration names: add "
            f'`private_registries: ["{host}:{port}"]` to partage.yaml, or use `partage` on the machine of the hub'
        )

    async def check_address(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        if is_address(host := request.url.raw_host or ""):  # no resolver is asked about it
            check(host, request.url.port, [host])
        return await handler(request)

    return {"connector": aiohttp.TCPConnector(resolver=CheckingResolver(check)), "middlewares": (check_address,)}
