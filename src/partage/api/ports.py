"""What the API needs from outside: the hub, as protocols, and its own settings."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from partage.domain import Client, JsonObject, Model, Output, Request

ResidentState: TypeAlias = Literal["loading", "ready", "draining", "stopping", "paused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Where one request's time went, on the hub's clock."""

    queued_s: float = 0.0
    load_s: float = 0.0
    """Waited for its model to load."""
    total_s: float = 0.0


@dataclass(frozen=True, slots=True)
class QueuePosition:
    position: int
    """1 is next."""
    predicted_wait_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidentView:
    """A model that is in memory, on its way in, or on its way out."""

    model: Model
    size_bytes: int
    device_bytes: int
    """Of them, on GPUs."""
    context_tokens: int
    expires_in_s: float | None
    """None: never."""
    state: ResidentState
    slots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PullProgress:
    status: str
    digest: str = ""
    total_bytes: int | None = None
    completed_bytes: int | None = None


class Ticket(Protocol):
    """One admitted request."""

    def stream(self) -> AsyncGenerator[Output, None]:
        """Wait for a turn, be served. Closing it cancels the work, in whatever phase. Raises PartageError."""
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

    async def delete(self, name: str) -> None: ...

    def pull(self, name: str) -> AsyncGenerator[PullProgress, None]:
        """Closing it leaves the download; what has arrived stays for the next try. Raises PullError, ModelNotFound."""
        ...

    def status(self) -> JsonObject: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    version: str
    """Ours."""
    ollama_version: str = "0.13.0"
    """The Ollama release whose API this is; clients read it at /api/version to know what they may use."""
    loopback: bool = True
    """Bound to a loopback address: only local Host headers are let in (DNS rebinding)."""
    allowed_hosts: tuple[str, ...] = ()
    """Host names let in besides the local ones."""
    allowed_origins: tuple[str, ...] = ()
    """Web origins let in besides the local ones; `*` matches any text (OLLAMA_ORIGINS)."""
    max_body_bytes: int = 100 * 1024**2
    silence_s: float = 10.0
    """A stream that has been silent so long sends its headers, or a keep-alive."""
