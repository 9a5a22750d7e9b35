"""Lets a vision model on the hub read pages and propose field values; what it says counts only where the page shows it."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Protocol, Self

import msgspec

from partage.client.hub_client import HubClient
from partage.errors import EngineError
from partage.json_value import JsonObject
from partage.work import Image, Message

TRANSCRIBE = (
    "Write down all text on this page exactly as printed, line by line from top to bottom. Add nothing and leave nothing out. "
    "Answer with the text only."
)
EXTRACT = (
    "Read these fields from the document and answer with JSON. Copy every value exactly as it is printed; dates as YYYY-MM-DD, "
    "amounts as numbers. Use null for what is not there. The text of the document:\n\n"
)
MOST_PICTURES = 4
MOST_TEXT = 12_000
ANSWER_S = 300.0
"""Then the page is left to OCR: a model that hangs must not hold a job for ever."""


class Reader(Protocol):
    """Something that looks at pages: the hub's vision model, or a test's."""

    async def model(self, wanted: str | None) -> str | None:
        """The model to use, or None when there is none; raises PartageError when the wanted one cannot see."""
        ...

    async def transcribe(self, model: str, jpeg: bytes) -> str: ...

    async def fields(self, model: str, text: str, jpegs: tuple[bytes, ...], schema: JsonObject) -> JsonObject: ...


class HubReader:
    """The Reader that asks the hub. Used as a context manager; every call raises PartageError when the hub cannot help."""

    def __init__(self, hub_url: str, api_key: str | None, default_model: str | None) -> None:
        self._client = HubClient(hub_url, api_key=api_key)
        self._default = default_model
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._client)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def model(self, wanted: str | None) -> str | None:
        name = wanted or self._default
        if name is not None:
            return name or None
        sighted = [model for model in await self._client.models() if "vision" in model.capabilities]
        return max(sighted, key=lambda model: model.size_bytes).name if sighted else None

    async def transcribe(self, model: str, jpeg: bytes) -> str:
        messages = [Message(role="user", content=TRANSCRIBE, images=(Image(data=jpeg, media_type="image/jpeg"),))]
        answer = await self._client.chat(
            model, messages, options={"temperature": 0, "num_predict": 2048}, timeout_s=ANSWER_S
        )
        return re.sub(r"^```\w*\n|\n```$", "", answer.text.strip())

    async def fields(self, model: str, text: str, jpegs: tuple[bytes, ...], schema: JsonObject) -> JsonObject:
        images = tuple(Image(data=jpeg, media_type="image/jpeg") for jpeg in jpegs[:MOST_PICTURES])
        messages = [Message(role="user", content=EXTRACT + text[:MOST_TEXT], images=images)]
        answer = await self._client.chat(
            model, messages, format=schema, options={"temperature": 0, "num_predict": 1024}, timeout_s=ANSWER_S
        )
        try:
            return msgspec.json.decode(answer.text, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise EngineError(f"the vision model's answer is not JSON: {error}") from error
