from __future__ import annotations

import resource

import pytest

from partage.serve.http import MOST_FILES, allow_many_connections


@pytest.mark.parametrize(("soft", "hard", "then"), [
    (1024, 4096, 4096),
    (1024, 1 << 20, MOST_FILES),
    (1024, resource.RLIM_INFINITY, MOST_FILES),
    (1 << 17, 1 << 20, 1 << 17),
    (resource.RLIM_INFINITY, resource.RLIM_INFINITY, resource.RLIM_INFINITY),
])  # fmt: skip
def test_a_server_takes_the_descriptors_it_may_have(soft: int, hard: int, then: int, monkeypatch: pytest.MonkeyPatch):
    limits = [(soft, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: limits.append(wanted))
    allow_many_connections()
    assert limits[-1] == (then, hard)
