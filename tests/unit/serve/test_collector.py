from __future__ import annotations

import gc
from collections.abc import Generator

import pytest

from partage.serve.collector import YOUNG_OBJECTS, look_seldom


@pytest.fixture(autouse=True)
def as_before() -> Generator[None]:
    threshold = gc.get_threshold()
    yield
    gc.set_threshold(*threshold)
    gc.unfreeze()


def test_what_was_built_is_not_looked_at_again_and_what_comes_seldom():
    built = [[0]]
    look_seldom()
    come = [[1]]
    seen = {id(one) for one in gc.get_objects()}
    assert id(built) not in seen
    assert id(come) in seen
    assert gc.get_threshold()[0] == YOUNG_OBJECTS


def test_cycles_are_still_freed():
    class Node:
        def __init__(self) -> None:
            self.itself = self

    look_seldom()
    before = gc.get_stats()[0]["collected"]
    for _ in range(2 * YOUNG_OBJECTS):
        Node()
    assert gc.get_stats()[0]["collected"] > before
