from __future__ import annotations

import pytest

from partage.errors import PullError
from partage.models import catalog, names


def test_every_name_is_canonical_and_belongs_to_one_entry():
    all_names = [name for entry in catalog.ENTRIES for name in entry.names]
    assert len(all_names) == len(set(all_names))
    assert all(names.canonical(name) == name for name in all_names)


def test_every_file_is_pinned():
    for entry in catalog.ENTRIES:
        for source in entry.sources:
            assert source.version
            for member in source.members:
                assert len(member.sha256) == 64
                assert member.size_bytes > 0
                assert "/" not in member.save_as


def test_all_sources_of_an_entry_promise_the_same_files():
    for entry in catalog.ENTRIES:
        promised = {tuple((member.save_as, member.sha256) for member in source.members) for source in entry.sources}
        assert len(promised) == 1


def test_an_alias_finds_its_entry():
    assert catalog.find("all-minilm:latest") is catalog.find("all-minilm:22m")
    assert catalog.same_as("all-minilm:latest")[:2] == ("all-minilm:latest", "all-minilm:22m")
    assert catalog.same_as("mine:latest") == ("mine:latest",)


def test_an_unknown_name_tells_what_there_is():
    with pytest.raises(PullError, match=r"'mine:latest'.*smollm2:135m, "):
        catalog.find("mine:latest")
