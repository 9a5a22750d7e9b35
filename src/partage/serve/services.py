"""Runs the document and RAG services and the dashboard: customers of the hub, each a process of its own."""

from __future__ import annotations

from starlette.types import ASGIApp

from partage import __version__
from partage.api.gate import Gate
from partage.api.ports import ApiSettings
from partage.config import Config
from partage.config_sections import DashboardConfig, DocumentsConfig, HubConfig, RagConfig
from partage.public_addresses import is_loopback
from partage.serve.extras import require
from partage.serve.home import writable
from partage.serve.http import bind, serve


def hub_url(config: Config) -> str:
    return config.hub_url or url_here(config.hub)


def documents_url(config: Config) -> str:
    return config.documents_url or url_here(config.documents)


def rag_url(config: Config) -> str:
    return config.rag_url or url_here(config.rag)


def url_here(section: HubConfig | DocumentsConfig | RagConfig | DashboardConfig) -> str:
    """Where a service of this machine listens, as its neighbours reach it."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(section.host, section.host)  # noqa: S104 compared, not bound
    return f"http://{f'[{host}]' if ':' in host else host}:{section.port}"


def gated(app: ASGIApp, config: Config, host: str) -> Gate:
    """As the hub's own API: a page in somebody's browser must neither read the documents of this machine nor add to them."""
    return Gate(
        app,
        ApiSettings(
            version=__version__,
            loopback=is_loopback(host),
            allowed_hosts=config.hub.hosts,
            allowed_origins=config.hub.origins,
        ),
    )


def key_of(config: Config, name: str) -> str | None:
    return config.clients[name].key if name in config.clients else None


async def run_documents(config: Config, *, announce: bool = False) -> None:
    """Serve until told to stop. Raises ConfigError."""
    require("the document service", "documents")
    from partage.documents.app import create_app  # noqa: PLC0415 an extra: the hub runs without it
    from partage.documents.settings import DocumentSettings, Limits  # noqa: PLC0415

    listener = bind(config.documents.host, config.documents.port, "documents")
    settings = DocumentSettings(
        data_dir=writable(config.home / "documents", "documents"),
        hub_url=hub_url(config),
        api_key=key_of(config, "documents"),
        vision_model=config.documents.vision_model,
        host=config.documents.host,
        port=config.documents.port,
        workers=config.documents.workers,
        timeout_s=config.documents.timeout_s,
        limits=Limits(upload_bytes=config.documents.max_file_bytes),
    )
    await serve(gated(create_app(settings), config, config.documents.host), listener, announce=announce)


async def run_rag(config: Config, *, announce: bool = False) -> None:
    """Serve until told to stop. Raises ConfigError."""
    require("the RAG service", "rag")
    from partage.rag.app import create_app  # noqa: PLC0415 an extra: the hub runs without it
    from partage.rag.settings import RagSettings  # noqa: PLC0415

    listener = bind(config.rag.host, config.rag.port, "rag")
    settings = RagSettings(
        data_dir=writable(config.home / "rag", "rag"),
        host=config.rag.host,
        port=config.rag.port,
        hub_url=hub_url(config),
        api_key=key_of(config, "rag"),
        documents_url=documents_url(config),
        embed_model=config.rag.embed_model,
        chat_model=config.rag.chat_model,
        query_timeout_s=config.rag.query_timeout_s,
        embed_timeout_s=config.rag.embed_timeout_s,
    )
    await serve(gated(create_app(settings), config, config.rag.host), listener, announce=announce)


async def run_dashboard(config: Config, *, announce: bool = False) -> None:
    """Serve until told to stop. Raises ConfigError."""
    require("the dashboard", "dashboard")
    from partage.dashboard.app import create_app  # noqa: PLC0415 an extra: the hub runs without it
    from partage.dashboard.settings import DashboardSettings  # noqa: PLC0415

    listener = bind(config.dashboard.host, config.dashboard.port, "dashboard")
    settings = DashboardSettings(
        hub_url=hub_url(config),
        documents_url=documents_url(config),
        rag_url=rag_url(config),
        api_key=key_of(config, "dashboard"),
        loopback=is_loopback(config.dashboard.host),
    )
    await serve(create_app(settings), listener, announce=announce, websockets=True)
