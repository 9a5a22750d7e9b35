"""Carries one HTTP exchange to the hub and back: aiohttp in earnest, a fake in the tests."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import aiohttp

from partage.errors import EngineCrashed, HubUnreachable

CONNECT_TIMEOUT_S = 5.0


class Reply(Protocol):
    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Looked up without regard to case."""
        ...

    def chunks(self) -> AsyncGenerator[bytes]: ...


class Transport(Protocol):
    def exchange(self, method: str, path: str, body: bytes | None) -> AbstractAsyncContextManager[Reply]:
        """Leaving the block closes the connection unless the answer was read to its end."""
        ...

    async def close(self) -> None: ...


class AiohttpReply:
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def chunks(self) -> AsyncGenerator[bytes]:
        async for chunk in self._response.content.iter_any():
            yield chunk


class AiohttpTransport:
    def __init__(self, base_url: str, *, api_key: str | None) -> None:
        self._base_url = base_url
        headers = {"Content-Type": "application/json"}
        if api_key is not None:
            headers["Authorization"] = f"Bearer {api_key}"
        self._session = aiohttp.ClientSession(
            headers=headers,
            # The hub decides who waits, not the pool; and how long is the caller's to say, per request.
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
        )

    @asynccontextmanager
    async def exchange(self, method: str, path: str, body: bytes | None) -> AsyncGenerator[Reply]:
        try:
            async with self._session.request(method, self._base_url + path, data=body) as response:
                yield AiohttpReply(response)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise HubUnreachable(f"no hub answers at {self._base_url}: start it with `partage up`") from error
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise HubUnreachable(
                f"{self._base_url!r} is not an address; write it like http://127.0.0.1:11434"
            ) from error
        except aiohttp.ClientError as error:
            raise EngineCrashed(f"the connection to {self._base_url} broke off: {error}") from error

    async def close(self) -> None:
        await self._session.close()
