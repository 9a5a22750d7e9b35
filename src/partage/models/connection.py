"""What goes wrong between us and a server of models, as PullError."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

import aiohttp

from partage.errors import PullError


class ConnectionLost(PullError):
    """Worth another try."""


@contextlib.contextmanager
def connection_errors(host: str) -> Generator[None]:
    try:
        yield
    except TimeoutError as error:
        raise ConnectionLost(f"{host} does not answer; try again, what has arrived is kept") from error
    except (aiohttp.ClientError, ConnectionError) as error:
        raise ConnectionLost(f"{host} cannot be reached: {str(error) or type(error).__name__}") from error
