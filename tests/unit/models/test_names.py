from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partage.errors import InvalidRequest
from partage.models import names


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("llama3.2", "llama3.2:latest"),
        ("smollm2:135m", "smollm2:135m"),
        ("library/smollm2:135m", "smollm2:135m"),
        ("user/model", "user/model:latest"),
        ("example.com/user/repo:Q4_K_M", "example.com/user/repo:Q4_K_M"),
        ("example.com:5000/ns/name:tag", "example.com:5000/ns/name:tag"),
    ],
)
def test_a_name_has_one_canonical_form(written: str, canonical: str):
    assert names.canonical(written) == canonical
    assert names.canonical(canonical) == canonical


@pytest.mark.parametrize(
    ("hostile", "names_the"),
    [
        ("", "missing"),
        ("../../etc/passwd", "more than three parts"),
        ("../x:latest", "namespace"),
        ("x:..", "tag"),
        ("x:", "tag"),
        ("a//b", "namespace"),
        ("/etc/passwd", "host"),
        (".hidden", "model"),
        ("-rf", "model"),
        ("a\x00b", "model"),
        ("a\nb", "model"),
        ("model:tag\n", "tag"),
        ("a b", "model"),
        ("a\\b", "model"),
        ("höhe", "model"),
        ("x:a:b", "tag"),
        ("exa mple/ns/m", "host"),
        ("m" * 81, "model"),
        ("m" * 300, "300 characters"),
        ("_/ns/m", "host"),
    ],
)
def test_a_hostile_name_is_refused_naming_what_is_wrong(hostile: str, names_the: str):
    with pytest.raises(InvalidRequest, match=names_the):
        names.parse(hostile)


@given(st.text(alphabet=st.sampled_from("ab./:_-~\\\n\x00A9"), max_size=40))
def test_no_accepted_name_leaves_the_store(text: str):
    try:
        name = names.parse(text)
    except InvalidRequest:
        return
    path = name.path
    assert len(path.parts) == 4
    assert not path.is_absolute()
    assert not any(part.startswith(".") or "\x00" in part for part in path.parts)
    assert names.parse(str(name)) == name


def test_different_names_have_different_paths():
    assert names.parse("a/b:c").path == PurePosixPath("_/a/b/c.json")
    assert names.parse("b:c").path == PurePosixPath("_/library/b/c.json")


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("smollm2", ["smollm2:135m", "smollm2:360m"]),
        ("smolm", ["smollm2:135m", "smollm2:360m"]),
        ("all-minilm:latest", ["all-minilm:22m"]),
        ("llama3.2", []),
    ],
)
def test_a_name_that_is_not_there_brings_the_models_to_mind_that_are(asked: str, meant: list[str]):
    assert names.near(asked, ["all-minilm:22m", "smollm2:135m", "smollm2:360m"]) == meant
