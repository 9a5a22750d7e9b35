from __future__ import annotations

from partage.engine.upstream import EMBED_CHARACTERS_AT_ONCE, EMBED_INPUTS_AT_ONCE, grouped


def test_embedding_inputs_go_in_groups_that_are_soon_done():
    texts = ("x" * 5000,) * 5 + ("y",) * 100
    groups = list(grouped(texts))
    assert tuple(text for group in groups for text in group) == texts
    assert all(len(group) <= EMBED_INPUTS_AT_ONCE for group in groups)
    assert all(len(group) == 1 or sum(map(len, group)) <= EMBED_CHARACTERS_AT_ONCE for group in groups)


def test_no_inputs_make_no_groups():
    assert list(grouped(())) == []
