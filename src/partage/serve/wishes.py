"""What the configuration says of single models: names that can be none, and models that are not here, are told at the start."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from partage.errors import ConfigError, InvalidRequest, ModelNotFound
from partage.hub.library import Library
from partage.models.names import canonical

log = logging.getLogger(__name__)


def check_names(wished: Iterable[str]) -> None:
    """Raises ConfigError."""
    for name in wished:
        try:
            canonical(name)
        except InvalidRequest as error:
            raise ConfigError(f"models: {error.message}") from None


def tell_absent(wished: Iterable[str], library: Library) -> None:
    """They may yet be pulled; but a misspelt one would have no effect for ever."""
    for name in wished:
        try:
            library.get(name)
        except ModelNotFound as error:
            meant = f"; did you mean {' or '.join(error.near)}?" if error.near else ""
            log.warning("models.%s in partage.yaml has no effect: there is no such model here yet%s", name, meant)
