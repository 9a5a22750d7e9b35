"""Which addresses are the open network's, and which this machine's. Who fetches what strangers name is a way into the network it stands in.

A name is judged where the connection is made, by what it means then: it may mean something else a moment later.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
"""All else is local, no address of one machine, or a way to IPv4 (::127.0.0.1, NAT64)."""


def is_public(address: str) -> bool:
    """Whether it is an address of the open network, and not this machine, its neighbours or a way to them."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return is_public(str(found.ipv4_mapped))
        if found.sixtofour is not None or found.teredo is not None or found not in GLOBAL_UNICAST:
            return False
    return found.is_global and not found.is_multicast


def is_loopback(host: str) -> bool:
    """Of an address or a name; without asking what a name means."""
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)


def is_address(host: str) -> bool:
    """No resolver is asked about those."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class CheckingResolver(AbstractResolver):
    def __init__(self, check: Callable[[str, int, Sequence[str]], None]) -> None:
        """`check` gets host, port and what the host means now, and raises what is to be said."""
        self._check = check
        self._system = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._system.resolve(host, port, family)
        self._check(host, port, [one["host"] for one in found])
        return found

    async def close(self) -> None:
        await self._system.close()
