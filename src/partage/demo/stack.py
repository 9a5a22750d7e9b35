"""The running stack as the demo sees it: a hub, a document service and a RAG service, behind their HTTP APIs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from partage.client.hub_client import HubClient
from partage.client.services import Answered, Documents, Processed, Rag, service_session
from partage.client.wire import ModelInfo
from partage.clock import Clock, SystemClock
from partage.demo.talk import ChatModel
from partage.json_value import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where a running stack is. Keys are what the hub and the services know their callers by; None: no key is needed."""

    hub_url: str
    documents_url: str
    rag_url: str
    chat_key: str | None = None
    """The client `chat`, class interactive."""
    admin_key: str | None = None
    documents_key: str | None = None
    rag_key: str | None = None
    chat_model: str | None = None
    """None: the largest that the hub has."""


class Hub(ChatModel, Protocol):
    async def models(self) -> list[ModelInfo]: ...

    async def load(self, model: str) -> None: ...

    async def status(self) -> JsonObject: ...


class DocumentService(Protocol):
    async def process(self, name: str, content: bytes, schema: str) -> Processed: ...


class RagService(Protocol):
    async def add(self, name: str, content: bytes) -> None: ...

    async def add_pages(self, name: str, pages: Sequence[str]) -> None: ...

    async def ask(self, question: str) -> Answered: ...

    async def remove(self, names: Collection[str]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """The running services as the demo sees them."""

    hub: Hub
    admin: Hub
    documents: DocumentService
    rag: RagService
    chat_model: str | None = None
    clock: Clock = field(default_factory=SystemClock)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


@asynccontextmanager
async def open_stack(endpoints: Endpoints) -> AsyncGenerator[Stack]:
    async with AsyncExitStack() as held:
        hub = await held.enter_async_context(HubClient(endpoints.hub_url, api_key=endpoints.chat_key))
        admin = await held.enter_async_context(HubClient(endpoints.hub_url, api_key=endpoints.admin_key))
        documents = await held.enter_async_context(service_session(endpoints.documents_key))
        rag = await held.enter_async_context(service_session(endpoints.rag_key))
        yield Stack(
            hub=hub,
            admin=admin,
            documents=Documents(documents, "document", endpoints.documents_url),
            rag=Rag(rag, "RAG", endpoints.rag_url),
            chat_model=endpoints.chat_model,
        )
