"""Uvicorn's HTTP with bounds on what a request may take before anybody has looked at it: its head in memory, all of it in time.

Of itself it gathers what comes before and after a body before any key is looked at, and it waits for ever for a request on a new
connection, for the rest of a head, and for the rest of a body. No answer is bounded here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGEST_HEAD_BYTES = 64 << 10
"""On top of what came with the first bytes of the request."""
IDLE_S = 75
"""Without a request. Clients keep a connection for 5 s (aiohttp: 15, httpx: 5) to 60 s (proxies); browsers open some in advance."""
HEAD_S = 30
SILENCE_S = 60
"""Between two pieces of a body."""


class BoundedHttp(HttpToolsProtocol):
    _moved = False
    _gathered_bytes = 0
    _body_came = False
    _limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._allow(IDLE_S, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        self._allow_any_time()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._moved = False
        super().data_received(data)
        # What has led to nothing yet belongs to a head, to trailers, or to a chunk's extensions.
        self._gathered_bytes = 0 if self._moved else self._gathered_bytes + len(data)
        if self._gathered_bytes > LARGEST_HEAD_BYTES:
            self._refuse("the head of the request is too large")

    def on_message_begin(self) -> None:
        self._moved = True
        self._allow(HEAD_S, self._head_is_late)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._moved = True
        self._allow(SILENCE_S, self._body_is_late)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._moved = self._body_came = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._answering:
            self._allow_any_time()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.timeout_keep_alive_task is not None:  # uvicorn's own limit, which any byte calls off
            self._allow(IDLE_S, self.timeout_keep_alive_handler)

    @property
    def _answering(self) -> bool:
        return bool(self.cycle) and not self.cycle.response_complete  # None before the first request

    def _head_is_late(self) -> None:
        if not self._answering:  # one that is sent behind another is looked at after that
            self._refuse(f"the head of the request did not come within {HEAD_S} s")

    def _body_is_late(self) -> None:
        if self._body_came or self.flow.read_paused:
            self._body_came = False
            self._allow(SILENCE_S, self._body_is_late)
        else:
            self._refuse(f"nothing of the request's body came for {SILENCE_S} s")

    def _refuse(self, words: str) -> None:
        if not self.transport.is_closing():
            self.send_400_response(words)

    def _allow(self, seconds: float, over: Callable[[], None]) -> None:
        self._allow_any_time()
        self._limit = self.loop.call_later(seconds, over)

    def _allow_any_time(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None
