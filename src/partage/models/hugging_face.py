"""Fetches GGUF models from the Hugging Face Hub: `hf.co/user/repo:Q4_K_M`. Where it is and who we are, huggingface_hub says.

The files themselves come as those of a registry do: in ranges, to be taken up again, checked against their SHA-256.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import msgspec
from yarl import URL

from partage.errors import NotFound, PullError, Unsupported
from partage.models import blobs
from partage.models.gguf_dir import PROJECTOR, QUANTISATION, SHARD
from partage.models.names import DEFAULT_TAG, Name
from partage.models.progress import PullProgress
from partage.models.pull_registry import take
from partage.models.reach import Reach, open_session
from partage.models.registry import Registry
from partage.models.store import About, Store

PREFIX = "hf.co"
"""How people write it; where it is, huggingface_hub knows."""
PREFERRED = ("Q4_K_M", "Q4_K_S", "Q4_0", "IQ4_XS", "IQ4_NL", "Q5_K_M", "Q5_K_S", "Q6_K", "Q8_0", "F16", "BF16", "F32")
"""For a name without a quantisation, the first that is there."""
_PROJECTORS = ("F16", "BF16", "Q8_0", "F32")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    path: str
    size_bytes: int
    sha256: str

    @property
    def quantisation(self) -> str:
        """Such as "Q4_K_M"; empty where the name does not say it."""
        shard = SHARD.match(_stem(self.path))
        found = QUANTISATION.search(shard["stem"] if shard else _stem(self.path))
        return found[1].upper().replace("FP16", "F16") if found else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """What the Hub says of one, at one revision."""

    id: str
    revision: str
    licence: str
    files: tuple[HubFile, ...]
    """The GGUF files."""


class _Lfs(msgspec.Struct, frozen=True):
    sha256: str = ""


class _Sibling(msgspec.Struct, frozen=True):
    rfilename: str
    size: int = 0
    lfs: _Lfs | None = None


class _Info(msgspec.Struct, frozen=True, rename={"card_data": "cardData"}):
    """The answer of GET /api/models/USER/REPO?blobs=true."""

    id: str
    sha: str
    siblings: list[_Sibling]
    card_data: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Choice:
    weights: HubFile
    projector: HubFile | None


def is_on_the_hub(name: Name) -> bool:
    if name.host == PREFIX or not name.host:
        return bool(name.host)
    from huggingface_hub import constants  # noqa: PLC0415 it takes a while, and few names need it

    return name.host == URL(constants.ENDPOINT).host


async def pull_from_hub(store: Store, name: Name, reach: Reach) -> AsyncGenerator[PullProgress, None]:
    """Raises NotFound, PullError (and its kinds), Unsupported, ModelFileError, StoreError."""
    yield PullProgress("pulling manifest")
    async with open_server(name, reach) as (endpoint, server):
        repository = await look_up(server, endpoint)
        choice = choose(repository.files, name.tag, str(name))
        source = f"{PREFIX}/{repository.id}@{repository.revision[:12]}/{choice.weights.path}"
        about = About(source=source, licence=repository.licence)
        wanted = [
            wanted_from(server, endpoint, repository, file) for file in (choice.weights, choice.projector) if file
        ]
        async with aclosing(take(store, str(name), wanted, about, streams=reach.streams)) as steps:
            async for step in steps:
                yield step


@asynccontextmanager
async def open_server(name: Name, reach: Reach) -> AsyncGenerator[tuple[URL, Registry]]:
    """Where the Hub is, and who asks it: $HF_ENDPOINT, `hf auth login`."""
    from huggingface_hub import constants, get_token  # noqa: PLC0415

    endpoint = URL(constants.ENDPOINT)
    async with open_session(reach, endpoint) as session:
        yield endpoint, Registry(session, endpoint.origin(), f"{name.namespace}/{name.model}", token=get_token() or "")


async def look_up(server: Registry, endpoint: URL) -> Repository:
    """What the Hub says. Raises NotFound, PullError."""
    url = endpoint.joinpath("api", "models", *server.repository.split("/")).with_query(blobs="true")
    try:
        async with server.exchange("GET", url) as response:
            info = await server.read(response, _Info)
    except NotFound as error:
        raise NotFound(f"there is no model {PREFIX}/{server.repository}") from error
    licence = info.card_data.get("license")
    return Repository(
        id=info.id,
        revision=info.sha,
        licence=licence if isinstance(licence, str) else "",
        files=tuple(
            HubFile(path=one.rfilename, size_bytes=one.size, sha256=one.lfs.sha256 if one.lfs else "")
            for one in sorted(info.siblings, key=lambda one: one.rfilename)
            if one.rfilename.lower().endswith(".gguf")
        ),
    )


def whole_weights(files: Sequence[HubFile]) -> list[HubFile]:
    return [file for file in files if not PROJECTOR.search(_stem(file.path)) and not SHARD.match(_stem(file.path))]


def choose(files: Sequence[HubFile], tag: str, what: str) -> Choice:
    """The weights by their quantisation, and a projector if there is one. Raises NotFound, Unsupported, PullError."""
    projectors = [file for file in files if PROJECTOR.search(_stem(file.path))]
    weights = [file for file in files if file not in projectors]
    whole = whole_weights(files)
    if not weights:
        raise NotFound(f"{what}: the repository holds no GGUF weights; look for one with GGUF in its name")
    by_type = {file.quantisation: file for file in reversed(whole)}
    if tag == DEFAULT_TAG:
        found = next((by_type[each] for each in PREFERRED if each in by_type), whole[0] if len(whole) == 1 else None)
    else:
        found = by_type.get(tag.upper()) or next((one for one in whole if _stem(one.path).lower() == tag.lower()), None)
    if found is None:
        there = ", ".join(sorted(filter(None, by_type))) or "none"
        split = {one.quantisation for one in weights if one not in whole}
        if tag.upper() in split or (tag == DEFAULT_TAG and split):
            raise Unsupported(
                f"{what} is split over several files, which cannot be taken into the store (whole ones: {there}); download "
                "all parts into a directory and name that as models_dir in partage.yaml"
            )
        raise NotFound(f"{what}: there is no such quantisation; there are: {there}")
    order: Mapping[str, int] = {each: index for index, each in enumerate(_PROJECTORS)}
    projectors.sort(key=lambda file: order.get(file.quantisation, len(order)))
    return Choice(found, projectors[0] if projectors else None)


def wanted_from(server: Registry, endpoint: URL, repository: Repository, file: HubFile) -> blobs.Wanted:
    """Raises PullError."""
    if not _SHA256.match(file.sha256) or file.size_bytes <= 0:
        raise PullError(
            f"the Hub does not say size and SHA-256 of {file.path}; it cannot be checked, and is not fetched"
        )
    url = endpoint.joinpath(*repository.id.split("/"), "resolve", repository.revision, *file.path.split("/"))
    ask = partial(_opened, server, url)
    return blobs.Wanted(f"sha256:{file.sha256}", file.size_bytes, ask)


def _opened(server: Registry, url: URL, headers: Mapping[str, str]) -> blobs.Opened:
    return server.exchange("GET", url, headers=headers)


def _stem(path: str) -> str:
    return PurePosixPath(path).stem
