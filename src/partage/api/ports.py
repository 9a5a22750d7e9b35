"""What the API needs from outside: the hub, as protocols, and its own settings."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from dataclasses import dataclass
from typing import Protocol

from partage.domain import Client, Model, Request, RequestId
from partage.hub.views import QueuePosition, ResidentView, Timing
from partage.json_value import JsonObject
from partage.models.create import Recipe
from partage.models.progress import PullProgress
from partage.work import Output


class Ticket(Protocol):
    """One admitted request."""

    def stream(self, *, whole: bool = False) -> AsyncGenerator[Output, None]:
        """Wait for a turn, be served. Closing it cancels the work, in whatever phase. Raises PartageError.

        `whole`: the pieces go nowhere before all are there.
        """
        ...

    @property
    def timing(self) -> Timing:
        """Whole after Done."""
        ...

    def position(self) -> QueuePosition | None:
        """None once it is served."""
        ...


class HubPort(Protocol):
    def admit(self, request: Request) -> Ticket:
        """Raises Refused, RequestError, CannotFit."""
        ...

    def identify(self, *, api_key: str | None, address: str) -> Client:
        """Raises Unauthorized."""
        ...

    def residents(self) -> list[ResidentView]: ...

    def models(self) -> list[Model]: ...

    def model(self, name: str) -> Model:
        """`name` as people write it. Raises ModelNotFound."""
        ...

    async def unload(self, name: str) -> None: ...

    def pin(self, name: str, *, pinned: bool) -> None:
        """Raises ModelNotFound."""
        ...

    def pause(self, name: str, *, paused: bool) -> None:
        """By hand, and until the opposite is asked for. Raises ModelNotFound, Unsupported."""
        ...

    def pause_lease(self, id_: RequestId, *, paused: bool) -> None:
        """Raises NotFound, InvalidRequest."""
        ...

    async def delete(self, name: str) -> None: ...

    def pull(self, name: str, *, insecure: bool = False) -> AsyncGenerator[PullProgress, None]:
        """Closing it leaves the download; what has arrived stays for the next try. Raises PullError, NotFound."""
        ...

    def push(self, name: str, *, insecure: bool = False) -> AsyncGenerator[PullProgress, None]:
        """Raises ModelNotFound, PullError."""
        ...

    def create(self, name: str, recipe: Recipe) -> AsyncGenerator[PullProgress, None]:
        """Raises RequestError, ModelFileError, PullError."""
        ...

    async def copy(self, source: str, destination: str) -> None:
        """Raises ModelNotFound."""
        ...

    def has_blob(self, digest: str) -> bool:
        """Raises InvalidRequest."""
        ...

    async def receive_blob(self, digest: str, chunks: AsyncIterable[bytes], size_bytes: int | None) -> None:
        """Raises InvalidRequest, DiskFull."""
        ...

    def status(self) -> JsonObject: ...

    def check_open(self) -> None:
        """Raises ShuttingDown once the end has begun."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    version: str
    """Ours."""
    ollama_version: str = "0.14.0"
    """The Ollama release whose API this is; clients read it at /api/version to know what they may use."""
    loopback: bool = True
    """Bound to a loopback address: only local Host headers are let in (DNS rebinding)."""
    allowed_hosts: tuple[str, ...] = ()
    """Host names let in besides the local ones."""
    allowed_origins: tuple[str, ...] = ()
    """Web origins let in besides the local ones; `*` matches any text (OLLAMA_ORIGINS)."""
    fetch_images: bool = False
    """Fetch pictures that requests name by http(s) URL, from public addresses (api/pictures.py)."""
    max_body_bytes: int = 100 * 1024**2
    silence_s: float = 10.0
    """A stream that has been silent so long sends its headers, or a keep-alive."""
