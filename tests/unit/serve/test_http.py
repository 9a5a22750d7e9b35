from __future__ import annotations

import resource

import pytest

from partage.serve.http import MOST_FILES, allow_many_connections

MILLION, UNLIMITED = 1 << 20, resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "hard", "then"),
    [
        (1024, 4096, 4096),
        (1024, MILLION, MOST_FILES),
        (1024, UNLIMITED, MOST_FILES),
        (MILLION, MILLION, MILLION),
        (UNLIMITED, UNLIMITED, UNLIMITED),
    ],
)
def test_a_server_takes_the_descriptors_it_may_have(soft: int, hard: int, then: int, monkeypatch: pytest.MonkeyPatch):
    limits = [(soft, hard)]

    def get(which: int) -> tuple[int, int]:
        return limits[-1]

    def set_to(which: int, wanted: tuple[int, int]) -> None:
        limits.append(wanted)

    monkeypatch.setattr(resource, "getrlimit", get)
    monkeypatch.setattr(resource, "setrlimit", set_to)
    allow_many_connections()
    assert limits[-1] == (then, hard)
