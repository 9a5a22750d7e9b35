from __future__ import annotations

import sys
from collections.abc import Generator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from docker_engine import DockerEngine, running_engine


@pytest.fixture(scope="session")
def engine() -> Generator[DockerEngine]:
    with running_engine() as found:
        yield found
