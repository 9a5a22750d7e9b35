"""HTTP to somebody else's model server, wherever it is: over TLS, by whatever road aiohttp knows."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Mapping

import aiohttp
import msgspec

from partage.engine.connection import LONGEST_ERROR_BODY, error_of
from partage.errors import EngineCrashed, EngineTimedOut


class RemoteConnection:
    """Satisfies Connection. Open it before the first request, and close it."""

    def __init__(self, base_url: str, *, headers: Mapping[str, str], idle_timeout_s: float) -> None:
        self._base_url = base_url.rstrip("/")
        self._headers = {"Content-Type": "application/json", **headers}
        self._idle_timeout_s = idle_timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        # A server may close a connection just as the next request is on its way, and a POST that is lost so cannot be
        # repeated safely: somebody else's we never keep.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10.0, sock_read=self._idle_timeout_s)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, headers=self._headers)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str) -> bytes:
        async with self._request("GET", path, None) as response:
            return await response.read()

    async def post(self, path: str, body: object) -> bytes:
        async with self._request("POST", path, body) as response:
            return await response.read()

    async def lines(self, path: str, body: object) -> AsyncGenerator[list[bytes], None]:
        rest = b""
        async with self._request("POST", path, body) as response:
            async for data in response.content.iter_any():
                *lines, rest = (rest + data).split(b"\n")
                if lines:
                    yield lines
        if rest:
            yield [rest]

    @contextlib.asynccontextmanager
    async def _request(self, method: str, path: str, body: object) -> AsyncGenerator[aiohttp.ClientResponse]:
        assert self._session is not None, "open() comes first"
        if self._session.closed:  # it ended between the decision to serve here and now
            raise EngineCrashed("the model server has ended")
        data = None if body is None else msgspec.json.encode(body)
        try:
            response = await self._session.request(method, self._base_url + path, data=data)
            try:
                if response.status >= 400:
                    raise error_of(response.status, await response.content.read(LONGEST_ERROR_BODY))
                yield response
            finally:
                response.close()  # unless read to its end: the server stops working on what nobody reads
        except TimeoutError as error:
            raise EngineTimedOut(f"the model server was silent for {self._idle_timeout_s:g} s") from error
        except aiohttp.ClientConnectorError as error:
            raise EngineCrashed("the model server does not take connections any more") from error
        except aiohttp.ClientError as error:
            raise EngineCrashed("the model server closed the connection in the middle of this request") from error
