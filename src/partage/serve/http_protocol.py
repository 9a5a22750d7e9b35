"""Uvicorn's HTTP with a bound on what comes before and after a body: it gathers that in memory, before any key is looked at."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGEST_HEAD_BYTES = 64 << 10
"""On top of what came with the first bytes of the request."""


class BoundedHttp(HttpToolsProtocol):
    _moved = False
    _gathered_bytes = 0

    def data_received(self, data: bytes) -> None:
        self._moved = False
        super().data_received(data)
        # What has led to nothing yet belongs to a head, to trailers, or to a chunk's extensions.
        self._gathered_bytes = 0 if self._moved else self._gathered_bytes + len(data)
        if self._gathered_bytes > LARGEST_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("the head of the request is too large")

    def on_message_begin(self) -> None:
        self._moved = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._moved = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._moved = True
        super().on_body(body)
