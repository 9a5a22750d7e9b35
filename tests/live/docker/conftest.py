from __future__ import annotations

from collections.abc import Generator

import pytest
from docker_engine import DockerEngine, running_engine


@pytest.fixture(scope="session")
def engine() -> Generator[DockerEngine]:
    with running_engine() as found:
        yield found
