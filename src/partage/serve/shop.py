"""Where models are kept and come from, as the configuration says: for the hub and for the commands."""

from __future__ import annotations

import logging
from pathlib import Path

from yarl import URL

from partage.config import Config
from partage.models.gguf_dir import GgufDirectory
from partage.models.ollama_dir import OllamaDirectory
from partage.models.reach import Reach
from partage.models.shelves import Shelf, Shelves
from partage.models.store import Store
from partage.models.workshop import Workshop

log = logging.getLogger(__name__)


def workshop_of(config: Config, *, home: Path | None = None, for_clients: bool = False) -> Workshop:
    """`home`: another store than the configured one. `for_clients`: not for who could ask a neighbour without our help."""
    reach = Reach(
        registry=config.registry,
        streams=config.transfer_streams,
        private=config.private_registries if for_clients else None,
    )
    return Workshop(shelves_of(config, home=home), reach)


def shelves_of(config: Config, *, home: Path | None = None) -> Shelves:
    for setting, directory in (("ollama_models", config.ollama_models), ("models_dir", config.models_dir)):
        if directory is not None and not directory.is_dir():
            log.warning("%s: there is no directory %s, so no models come from it", setting, directory)
    shelves: list[Shelf] = []
    if config.ollama_models is not None:
        shelves.append(OllamaDirectory(config.ollama_models, _host(config.registry)))
    if config.models_dir is not None:
        shelves.append(GgufDirectory(config.models_dir))
    return Shelves(Store(home or config.home), shelves)


def _host(registry: str) -> str:
    return URL(registry).authority if "://" in registry else registry
