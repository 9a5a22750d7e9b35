"""What the RAG service needs of the hub; client.HubClient is one, the tests bring their own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Protocol

from partage.client.wire import ChatPiece, ModelInfo
from partage.json_value import JsonValue
from partage.work import Message


class Hub(Protocol):
    async def models(self) -> list[ModelInfo]: ...

    async def embed(
        self, model: str, inputs: Sequence[str], *, timeout_s: float | None = None
    ) -> list[list[float]]: ...

    def stream_chat(
        self,
        model: str,
        messages: Sequence[Message],
        *,
        options: Mapping[str, JsonValue] | None = None,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[ChatPiece]: ...
