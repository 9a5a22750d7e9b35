"""Every error Partage raises, as one tree. A class's docstring is its default message.

PartageError
├── RequestError               the caller can mend it
│   ├── InvalidRequest           a field is missing, of the wrong type or out of range          400
│   ├── Unauthorized             no key, or a wrong one                                          401
│   ├── Forbidden                the host, origin or path is not allowed                         403
│   ├── ModelNotFound            nobody here has that name                                       404
│   ├── NotFound                 another thing (job, document, blob) is not there                404
│   ├── MethodNotAllowed         the path is right, the method is not                            405
│   ├── TooLarge                 the body or file is over the limit                              413
│   ├── ContextTooLong           the prompt does not fit the model's context                     400
│   └── Unsupported              the model or this server cannot do what was asked               400
├── Refused                    try later: carries retry_after_s
│   ├── QueueFull                                                                                503
│   ├── QuotaExceeded            the client's own limit                                          429
│   ├── DeadlinePassed           cannot be met any more                                          503
│   └── ShuttingDown                                                                             503
├── CannotFit                  never will on this machine: carries the arithmetic                507
├── EngineError                our side, or the model server's
│   ├── EngineStartFailed                                                                        503
│   ├── EngineOutOfMemory        (a start failure that the ledger learns from)                   503
│   ├── ParkFailed               its memory stays where it is, and it is stopped instead
│   ├── EngineTimedOut                                                                           504
│   └── EngineCrashed                                                                            502
├── DocumentError
│   ├── UnsupportedDocument      not a kind of file we read                                      415
│   └── DocumentUnreadable       encrypted, corrupt, or too large to render                      422
├── StoreError                 the model store cannot be read or written                     500
├── UnreadableFile             a compose file, .env or Dockerfile cannot be read: carries the place
├── ModelFileError             a GGUF or safetensors file is truncated, hostile or unknown       422
├── PullError                  a model could not be fetched                                      502
│   ├── DigestMismatch           what arrived is not what was promised                           502
│   └── DiskFull                                                                                 507
├── ServiceUnreachable         another part of Partage does not answer at its address          503
│   └── HubUnreachable           no hub answers there
├── LeaseLost                  the hub ended a lease under its holder                         409
├── IndexMismatch              the search index was made with another embedding model          409
└── ConfigError                at start-up only; the message names the key and the file

The HTTP status is not kept here: http_status.py looks it up along the class's MRO, so that
policy and engines never speak HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence


class PartageError(Exception):
    """Something went wrong in Partage."""

    def __init__(self, message: str | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").strip()
        super().__init__(self.message)


class RequestError(PartageError):
    """The request cannot be carried out as it stands."""


class InvalidRequest(RequestError):
    """The request is not valid."""

    def __init__(self, message: str | None = None, *, field: str | None = None) -> None:
        self.field = field
        """Where in the body, as a path: "messages[0].role"."""
        super().__init__(message)


class Unauthorized(RequestError):
    """A valid API key is needed."""


class Forbidden(RequestError):
    """This is not allowed from here."""


class ModelNotFound(RequestError):
    """The model is not on this machine."""

    def __init__(self, model: str, *, near: Sequence[str] = (), message: str | None = None) -> None:
        """`near`: names that are here and may have been meant; `message`: what a hub has said of it."""
        self.model = model
        self.near = tuple(near)
        meant = f"; or did you mean {' or '.join(self.near)}?" if self.near else ""
        super().__init__(message or f"model '{model}' not found, try pulling it first: partage pull {model}{meant}")


class NotFound(RequestError):
    """There is no such thing here."""


class MethodNotAllowed(RequestError):
    """This path does not take that method."""

    def __init__(self, message: str | None = None, *, allowed: tuple[str, ...] = ()) -> None:
        self.allowed = allowed
        super().__init__(message)


class TooLarge(RequestError):
    """The body is larger than this server takes."""


class ContextTooLong(RequestError):
    """The prompt is longer than the model's context."""

    def __init__(self, message: str | None = None, *, prompt_tokens: int = 0, context_tokens: int = 0) -> None:
        self.prompt_tokens = prompt_tokens
        """0: the engine did not say."""
        self.context_tokens = context_tokens
        super().__init__(message)


class Unsupported(RequestError):
    """The model or this server cannot do what was asked."""


class Refused(PartageError):
    """The request was refused for now; try again later."""

    def __init__(self, message: str | None = None, *, retry_after_s: float = 1.0) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class QueueFull(Refused):
    """The server is busy: too many requests are waiting already."""


class QuotaExceeded(Refused):
    """This client has reached its own limit."""


class DeadlinePassed(Refused):
    """The request can no longer be answered before its deadline."""


class ShuttingDown(Refused):
    """The server is shutting down."""


class CannotFit(PartageError):
    """The model does not fit on this machine, whatever else is unloaded."""

    def __init__(self, message: str | None = None, *, needs_bytes: int = 0, capacity_bytes: int = 0) -> None:
        self.needs_bytes = needs_bytes
        self.capacity_bytes = capacity_bytes
        super().__init__(message)


class EngineError(PartageError):
    """The model server failed."""


class EngineStartFailed(EngineError):
    """The model server did not start."""


class EngineOutOfMemory(EngineStartFailed):
    """The model server ran out of memory while loading."""


class ParkFailed(EngineError):
    """The model server's memory could not be moved."""


class EngineTimedOut(EngineError):
    """The model server did not answer in time."""


class EngineCrashed(EngineError):
    """The model server ended while it was serving this request."""


class DocumentError(PartageError):
    """The document cannot be processed."""


class UnsupportedDocument(DocumentError):
    """This kind of file is not supported; send PDF, PNG, JPEG, TIFF or WebP."""


class DocumentUnreadable(DocumentError):
    """The document cannot be read."""


class UnreadableFile(PartageError):
    """The file cannot be read."""

    def __init__(self, message: str | None = None, *, line: int = 1, column: int = 1) -> None:
        self.line = line
        self.column = column
        super().__init__(message)


class ModelFileError(PartageError):
    """The model file is truncated, corrupt or of an unknown kind."""


class LeaseLost(PartageError):
    """The hub ended the lease."""


class StoreError(PartageError):
    """The model store on this machine cannot be read or written."""


class PullError(PartageError):
    """The model could not be fetched."""


class DigestMismatch(PullError):
    """What arrived is not what was promised; the download was discarded."""


class DiskFull(PullError):
    """There is not enough disk space for the model."""


class ServiceUnreachable(PartageError):
    """A service that is needed for this does not answer."""


class HubUnreachable(ServiceUnreachable):
    """No hub answers; start it with `partage up`."""


class IndexMismatch(PartageError):
    """The search index was made with another embedding model."""


class ConfigError(PartageError):
    """The configuration is not valid."""
