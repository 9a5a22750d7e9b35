"""The dashboard's application: its pages, and the one poller behind them all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from nicegui import ui
from starlette.middleware.trustedhost import TrustedHostMiddleware

from partage.client.hub_client import HubClient
from partage.client.services import Documents, Rag, service_session
from partage.clock import SystemClock, unix_s
from partage.dashboard.pages import ask, chat, documents, models, overview
from partage.dashboard.pages.frame import Parts
from partage.dashboard.poller import Poller
from partage.dashboard.settings import DashboardSettings

POLL_TIMEOUT_S = 3.0
LOCAL_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
BUILDERS: dict[str, Callable[[Parts], None]] = {
    "/": overview.build,
    "/models": models.build,
    "/chat": chat.build,
    "/documents": documents.build,
    "/ask": ask.build,
}


def create_app(settings: DashboardSettings) -> FastAPI:
    """One per process: NiceGUI keeps its pages in the module."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        polled = HubClient(settings.hub_url, api_key=settings.api_key, timeout_s=POLL_TIMEOUT_S, retry=False)
        asked = HubClient(settings.hub_url, api_key=settings.api_key)
        async with (
            polled,
            asked,
            service_session(settings.api_key) as session,
            asyncio.TaskGroup() as tasks,
        ):
            poller = Poller(polled, SystemClock(), unix_s)
            documents_service = Documents(session, "documents", settings.documents_url)
            app.state.parts = Parts(poller, asked, documents_service, Rag(session, "rag", settings.rag_url))
            polling = tasks.create_task(poller.run(), name="poll the hub")
            try:
                yield
            finally:
                polling.cancel()

    app = FastAPI(title="Partage dashboard", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    if settings.loopback:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=LOCAL_HOSTS, www_redirect=False)
    app.get("/healthz")(_health)
    for path, build in BUILDERS.items():
        _add_page(app, path, build)
    ui.run_with(app, title="Partage", language="en-US", tailwind=False, show_welcome_message=False, dark=False)
    return app


def _add_page(app: FastAPI, path: str, build: Callable[[Parts], None]) -> None:
    @ui.page(path)
    def built() -> None:
        build(app.state.parts)


async def _health() -> dict[str, str]:
    return {"status": "ok"}
