"""Who is calling, and whether they are within their own limits."""

from __future__ import annotations

import hmac
import ipaddress
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from partage.clock import Clock
from partage.domain import Client
from partage.errors import QuotaExceeded, Unauthorized

MINUTE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownClient:
    client: Client
    key: str | None = field(default=None, repr=False)
    address: str | None = None


@dataclass(slots=True)
class _Minute:
    """What one client did in the last minute: (when, tokens)."""

    uses: deque[tuple[float, int]] = field(default_factory=deque[tuple[float, int]])
    tokens: int = 0

    def forget_before(self, when_s: float) -> None:
        while self.uses and self.uses[0][0] <= when_s:
            self.tokens -= self.uses.popleft()[1]


class Clients:
    """Identity by API key, else by address; unknown callers are clients of their own, one per address."""

    def __init__(self, known: Mapping[str, KnownClient], clock: Clock, *, require_key: bool = False) -> None:
        self._keys = [(one.key.encode(), one.client) for one in known.values() if one.key]
        self._addresses = {one.address: one.client for one in known.values() if one.address}
        self._learned: dict[str, Client] = {}
        self._require_key = require_key
        self._clock = clock
        self._minutes: dict[str, _Minute] = {}

    def identify(self, *, api_key: str | None, address: str) -> Client:
        """Raises Unauthorized where a key is required and none, or a wrong one, was shown."""
        found = None
        shown = (api_key or "").encode()
        for key, client in self._keys:  # all of them, each in constant time: the answer's time tells nothing
            if hmac.compare_digest(key, shown):
                found = client
        if found is not None:
            return found
        if self._require_key:
            raise Unauthorized("this server needs an API key: send it as `Authorization: Bearer KEY`")
        return self._addresses.get(address) or self._learned.get(address) or _stranger(address)

    def learn_addresses(self, clients: Mapping[str, Client]) -> None:
        """Who calls from which address, as far as Docker knows it now; replaces what was learned before."""
        self._learned = dict(clients)

    def admit(self, client: Client, tokens: int) -> None:
        """Count one request of about so many tokens. Raises QuotaExceeded with the time until there is room again."""
        if client.requests_per_minute is None and client.tokens_per_minute is None:
            return
        now_s = self._clock.now_s()
        minute = self._minutes.setdefault(client.name, _Minute())
        minute.forget_before(now_s - MINUTE_S)
        for limit, used, what in (
            (client.requests_per_minute, len(minute.uses), "requests"),
            (client.tokens_per_minute, minute.tokens, "tokens"),
        ):
            if limit is not None and used >= limit and minute.uses:
                wait_s = minute.uses[0][0] + MINUTE_S - now_s
                raise QuotaExceeded(
                    f"client '{client.name}' has used its {limit} {what} per minute; try again in {wait_s:.0f} s",
                    retry_after_s=wait_s,
                )
        minute.uses.append((now_s, tokens))
        minute.tokens += tokens


@lru_cache(maxsize=1000)
def _stranger(address: str) -> Client:
    """A client of its own per address. A proxy's X-Forwarded-For may hold anything, also the name of one with a key."""
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return Client(name="unknown" if address else "local")
    return Client(name=address)
