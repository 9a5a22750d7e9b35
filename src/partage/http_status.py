"""Which HTTP status each error has, for every server of ours: looked up along the class's MRO."""

from __future__ import annotations

import math
from collections.abc import Mapping

from partage import errors
from partage.errors import PartageError, Refused

STATUS: Mapping[type[PartageError], int] = {
    errors.RequestError: 400,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.ModelNotFound: 404,
    errors.NotFound: 404,
    errors.MethodNotAllowed: 405,
    errors.IndexMismatch: 409,
    errors.LeaseLost: 409,
    errors.TooLarge: 413,
    errors.UnsupportedDocument: 415,
    errors.DocumentError: 422,
    errors.ModelFileError: 422,
    errors.QuotaExceeded: 429,
    errors.EngineError: 502,
    errors.PullError: 502,
    errors.Refused: 503,
    errors.EngineStartFailed: 503,
    errors.ServiceUnreachable: 503,
    errors.EngineTimedOut: 504,
    errors.CannotFit: 507,
    errors.DiskFull: 507,
    errors.PartageError: 500,
}


def status_of(error: PartageError) -> int:
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def retry_after(error: PartageError) -> str | None:
    """The value of Retry-After in whole seconds, at least 1; None for what is not worth trying again."""
    return str(max(1, math.ceil(error.retry_after_s))) if isinstance(error, Refused) else None
