"""The hub's HTTP application: the routes, and the edge where errors become answers."""

from __future__ import annotations

import itertools
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from partage.api.admin import AdminApi
from partage.api.anthropic import AnthropicApi
from partage.api.exchange import ClientLeft, Exchange
from partage.api.gate import Gate
from partage.api.leases import LeasesApi, LeasesPort
from partage.api.ollama import OllamaApi
from partage.api.ollama_library import OllamaLibraryApi
from partage.api.ollama_models import OllamaModelsApi
from partage.api.openai import OpenAIApi
from partage.api.ports import ApiSettings, HubPort
from partage.api.problems import OPENAI, Dialect, dialect_of, headers_of
from partage.api.responses import ResponsesApi
from partage.api.switching import SwitchingApi
from partage.api.watching import WatchApi, WatchPort
from partage.errors import MethodNotAllowed, NotFound, PartageError
from partage.http_status import status_of

logger = logging.getLogger(__name__)

LISTED = "docs/api.md lists what there is"
NOT_HERE = {
    "/v1/audio": "this hub runs no speech models; send audio to a server for it, such as whisper.cpp's",
    "/v1/images": "this hub draws no pictures; it reads them: send them to /v1/chat/completions",
    "/v1/files": "nothing is stored here; send texts to /v1/chat/completions, documents to `partage documents`",
    "/v1/assistants": "nothing is stored here; send the conversation to /v1/chat/completions or /v1/responses",
    "/v1/threads": "nothing is stored here; send the conversation to /v1/chat/completions or /v1/responses",
    "/v1/batches": "send each request by itself; those of a client in the batch class wait for the others",
    "/v1/rerank": "this hub does not rerank; `partage rag` searches and answers",
    "/api/me": "there are no accounts: nothing leaves this machine",
    "/api/signout": "there are no accounts: nothing leaves this machine",
    "/api/user": "there are no accounts: nothing leaves this machine",
    "/upstream": "engines are not reached around the hub; send requests to /v1 or /api with the model's name",
    "/api/experimental": "nothing leaves this machine: no web search, no cloud models",
}
"""What clients of Ollama and OpenAI may look for: the start of a path, and what to do instead."""

Handler: TypeAlias = Callable[[Exchange], Awaitable[None]]


def create_app(
    hub: HubPort, settings: ApiSettings, watch: WatchPort | None = None, leases: LeasesPort | None = None
) -> Starlette:
    ollama, ollama_models = OllamaApi(hub, settings), OllamaModelsApi(hub, settings)
    library = OllamaLibraryApi(hub, settings)
    openai, anthropic, admin = OpenAIApi(hub, settings), AnthropicApi(hub, settings), AdminApi(hub)
    responses, switching = ResponsesApi(hub, settings), SwitchingApi(hub)
    ids = RequestIds()

    def route(
        method: str, path: str, handler: Handler, *, needs_key: bool = True, dialect: Dialect | None = None
    ) -> Route:
        identifies = hub if needs_key else None
        endpoint = Endpoint(handler, identifies, ids, dialect or dialect_of(path), settings.max_body_bytes)
        return Route(path, endpoint, methods=[method])

    routes = [
        # Busiest first: they are matched in this order.
        route("POST", "/api/chat", ollama.chat),
        route("POST", "/v1/chat/completions", openai.chat),
        route("POST", "/v1/messages", anthropic.messages),
        route("POST", "/v1/responses", responses.respond),
        route("POST", "/v1/messages/count_tokens", anthropic.count_tokens),
        route("POST", "/api/generate", ollama.generate),
        route("POST", "/api/embed", ollama.embed),
        route("POST", "/v1/embeddings", openai.embeddings),
        route("POST", "/v1/completions", openai.completion),
        route("POST", "/api/embeddings", ollama.embeddings),
        route("GET", "/", ollama_models.alive, needs_key=False),
        route("GET", "/api/version", ollama_models.version, needs_key=False),
        route("GET", "/api/status", ollama_models.cloud_status, needs_key=False),
        route("GET", "/api/tags", ollama_models.tags),
        route("GET", "/api/ps", ollama_models.ps),
        route("POST", "/api/show", ollama_models.show),
        route("POST", "/api/pull", library.pull),
        route("POST", "/api/push", library.push),
        route("POST", "/api/create", library.create),
        route("POST", "/api/copy", library.copy),
        route("HEAD", "/api/blobs/{digest}", library.has_blob),
        route("POST", "/api/blobs/{digest}", library.receive_blob),
        route("DELETE", "/api/delete", ollama_models.delete),
        route("GET", "/v1/models", openai.models),
        route("GET", "/v1/models/{model:path}", openai.model),
        route("GET", "/healthz", admin.health, needs_key=False),
        route("GET", "/admin/status", admin.status),
        route("POST", "/admin/pin", admin.pin),
        route("POST", "/admin/pause", admin.pause),
        # As peers have them: vLLM and llama.cpp, llama-swap, and llama.cpp without the /v1 (where it means the same).
        route("GET", "/health", admin.health, needs_key=False),
        route("GET", "/running", switching.running),
        route("GET", "/unload", switching.unload_all),
        route("POST", "/api/models/unload", switching.unload_all),
        route("POST", "/api/models/unload/{model:path}", switching.unload),
        route("POST", "/chat/completions", openai.chat, dialect=OPENAI),
        route("GET", "/models", openai.models, dialect=OPENAI),
    ]
    if watch is not None:
        watching = WatchApi(watch)
        routes += [
            route("GET", "/metrics", watching.metrics),
            route("GET", "/admin/alerts", watching.alerts),
            route("GET", "/admin/machine", watching.machine),
            route("GET", "/admin/history", watching.history),
        ]
    if leases is not None:
        leasing = LeasesApi(leases)
        routes += [
            route("POST", "/admin/leases", leasing.hold),
            route("GET", "/admin/leases", leasing.list),
            route("POST", "/admin/leases/{lease}/heartbeat", leasing.heartbeat),
            route("DELETE", "/admin/leases/{lease}", leasing.end),
        ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(Gate, settings=settings)],
        exception_handlers={HTTPException: _routing_problem},
    )


class RequestIds:
    """Unique in this process's life and unlikely to meet another's: "5f0c2a9e-17"."""

    def __init__(self) -> None:
        self._prefix = secrets.token_hex(4)
        self._numbers = itertools.count(1)

    def next(self) -> str:
        return f"{self._prefix}-{next(self._numbers)}"


class Endpoint:
    """One handler as an ASGI application: finds out who calls, and answers errors in the caller's dialect."""

    def __init__(
        self, handler: Handler, hub: HubPort | None, ids: RequestIds, dialect: Dialect, body_limit_bytes: int
    ) -> None:
        self._handler = handler
        self._hub = hub
        self._ids = ids
        self._dialect = dialect
        self._body_limit_bytes = body_limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        id_, limit_bytes = self._ids.next(), self._body_limit_bytes
        exchange = Exchange(scope, receive, send, id_=id_, body_limit_bytes=limit_bytes, json=self._dialect.json)
        try:
            if self._hub is not None:
                exchange.client = self._hub.identify(api_key=exchange.api_key, address=exchange.address)
            await self._handler(exchange)
        except ClientLeft:
            logger.debug("request %s: the client left", exchange.id)
        except PartageError as error:
            await self._answer_error(exchange, error)
        except Exception:
            # The edge: a defect of ours must not take the connection down without a word.
            logger.exception("request %s failed", exchange.id)
            await self._answer_error(exchange, PartageError(f"internal error; the log has it as {exchange.id}"))

    async def _answer_error(self, exchange: Exchange, error: PartageError) -> None:
        if exchange.started:
            await exchange.finish(self._dialect.frame(error))
        else:
            body = self._dialect.body(error)
            await exchange.answer(body, status=status_of(error), headers=headers_of(error))


async def _routing_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path
    problem: PartageError
    if error.status_code == 405:
        allowed = tuple(sorted((error.headers or {}).get("Allow", "").split(", ")))
        message = f"{request.method} is not allowed on {path}; use {' or '.join(allowed)}"
        problem = MethodNotAllowed(message, allowed=allowed)
    else:
        advice = next((words for start, words in NOT_HERE.items() if path.startswith(start)), LISTED)
        problem = NotFound(f"there is no {path} here; {advice}")
    headers = {name.decode(): value.decode() for name, value in headers_of(problem)}
    return Response(dialect_of(path).body(problem), status_of(problem), headers, "application/json")
