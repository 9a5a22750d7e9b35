"""A directory of GGUF files, served in place: names from file names, split files as one, projectors beside their models.

`Llama-3.2-3B-Instruct-Q4_K_M.gguf` is "llama-3.2-3b-instruct:q4_k_m", and ":latest" too where it is the only one.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from partage.domain import Model
from partage.errors import InvalidRequest, ModelFileError, PartageError
from partage.models import names
from partage.models.facts import Extras, FactsCache, FileFacts, model_of
from partage.models.gguf_header import read_header
from partage.models.names import DEFAULT_NAMESPACE, DEFAULT_TAG, Name

log = logging.getLogger("partage.models")

_DEEPEST = 4
_MOST_FILES = 10_000
QUANTISATION = re.compile(r"[-._]((?:ud-)?(?:i?q\d\w*|f16|f32|bf16|fp16|fp32|mxfp4\w*|tq\d_\d))\Z", re.IGNORECASE)
SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\Z")
PROJECTOR = re.compile(r"(?:\A|[-._])mmproj(?:[-._]|\Z)", re.IGNORECASE)
_NOT_IN_NAMES = re.compile(r"[^a-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class _Found:
    """One model's files: the weights, in shards if it is split, and the projector beside them."""

    name: Name
    shards: tuple[Path, ...]
    projector: Path | None


class GgufDirectory:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._facts = FactsCache()
        self._split: dict[tuple[Path, ...], tuple[FileFacts, FileFacts]] = {}
        self._folders: dict[Path, int] = {}
        self._index: dict[Name, _Found] = {}
        self._said: set[str] = set()

    def __str__(self) -> str:
        return f"the directory {self._path}"

    def list(self) -> list[Model]:
        models: list[Model] = []
        for found in self._current().values():
            try:
                models.append(self._model(found))
            except PartageError as error:
                self._say(_left_out(found.shards[0], error))
        return models

    def find(self, name: Name) -> Model | None:
        if name.host or name.namespace != DEFAULT_NAMESPACE:
            return None
        index = self._current()
        asked = replace(name, model=name.model.lower(), tag=name.tag.lower())
        variants = [found for each, found in index.items() if each.model == asked.model]
        only = variants[0] if len(variants) == 1 and asked.tag == DEFAULT_TAG else None
        found = index.get(asked) or only
        return self._model(found) if found else None

    def _current(self) -> dict[Name, _Found]:
        """The index, made anew when a folder has changed."""
        if not self._folders or any(_changed_ns(folder) != known for folder, known in self._folders.items()):
            files, self._folders = self._walk()
            self._index = {}
            for found in _models_of(files, self._say):
                if found.name in self._index:
                    self._say(f"{found.shards[0]} left out: {self._index[found.name].shards[0]} has the same name")
                else:
                    self._index[found.name] = found
        return self._index

    def _walk(self) -> tuple[list[Path], dict[Path, int]]:
        files: list[Path] = []
        folders: dict[Path, int] = {}
        for folder, subfolders, names_ in os.walk(self._path, onerror=lambda error: self._say(f"left out: {error}")):
            here = Path(folder)
            folders[here] = _changed_ns(here)
            subfolders[:] = sorted(one for one in subfolders if not one.startswith("."))
            if len(here.relative_to(self._path).parts) >= _DEEPEST:
                subfolders.clear()
            files += [here / name for name in sorted(names_) if name.lower().endswith(".gguf")]
            if len(files) > _MOST_FILES:
                self._say(f"{self} holds more than {_MOST_FILES} files; the rest is left out")
                break
        return files, folders

    def _model(self, found: _Found) -> Model:
        """Raises ModelFileError."""
        try:
            return self._read(found)
        except OSError as error:  # removed, or its disk gone, while it is looked at
            raise ModelFileError(f"{found.shards[0]}: {error.strerror}") from error

    def _read(self, found: _Found) -> Model:
        path = found.shards[0]
        facts = self._facts.read(path)
        if len(found.shards) > 1:
            facts = self._joined(found.shards, facts)
        if facts.anatomy.architecture == "clip":
            raise ModelFileError("a vision projector; it is used with the model beside it")
        return model_of(
            str(found.name),
            digest=_stand_in_digest(found.shards),
            weights=(path, facts),
            projector=(found.projector, self._facts.read(found.projector)) if found.projector else None,
            extras=Extras(source=str(self)),
            modified_s=facts.modified_s,
        )

    def _joined(self, shards: tuple[Path, ...], first: FileFacts) -> FileFacts:
        """The header of the first shard, with the tensors of all."""
        known = self._split.get(shards)
        if known is None or known[0] is not first:
            rest = [read_header(path) for path in shards[1:]]
            tensors = (*first.anatomy.tensors, *(tensor for header in rest for tensor in header.tensors))
            size_bytes = sum(path.stat().st_size for path in shards)
            joined = replace(first, anatomy=replace(first.anatomy, tensors=tensors), size_bytes=size_bytes)
            known = self._split[shards] = (first, joined)
        return known[1]

    def _say(self, message: str) -> None:
        """Once: lists are made often."""
        if message not in self._said:
            self._said.add(message)
            log.warning("%s", message)


def _left_out(path: Path, error: PartageError) -> str:
    return f"{path} left out: {error.message.removeprefix(f'{path}: ')}"


def _models_of(files: Iterable[Path], say: Callable[[str], None]) -> list[_Found]:
    projectors: dict[Path, list[Path]] = {}
    weights: dict[tuple[Path, str], list[Path]] = {}
    for file in files:
        if PROJECTOR.search(file.stem):
            projectors.setdefault(file.parent, []).append(file)
        else:
            shard = SHARD.match(file.stem)
            weights.setdefault((file.parent, shard["stem"] if shard else file.stem), []).append(file)
    bases = {folder: {_name_parts(stem)[0] for at, stem in weights if at == folder} for folder in projectors}
    found: list[_Found] = []
    for (folder, stem), paths in weights.items():
        try:
            shards = _whole(paths)
            model, tag = _name_parts(stem)
            projector = _projector_for(model, projectors.get(folder, []), alone=len(bases.get(folder, ())) == 1)
            found.append(_Found(names.parse(f"{model}:{tag}"), shards, projector))
        except (ModelFileError, InvalidRequest) as error:
            say(_left_out(paths[0], error))
    return found


def _whole(paths: list[Path]) -> tuple[Path, ...]:
    """The shards in order. Raises ModelFileError when one is missing."""
    shard = SHARD.match(paths[0].stem)
    if shard is None:
        return (paths[0],)
    numbers = sorted(int(match["number"]) for path in paths if (match := SHARD.match(path.stem)))
    count = int(shard["count"])
    if numbers != list(range(1, count + 1)):
        missing = sorted(set(range(1, count + 1)) - set(numbers))
        raise ModelFileError(f"a split model of {count} files, of which {missing[:5]} are missing")
    return tuple(sorted(paths))


def _name_parts(stem: str) -> tuple[str, str]:
    """Model and tag."""
    quantisation = QUANTISATION.search(stem)
    base = stem[: quantisation.start()] if quantisation else stem
    model = _NOT_IN_NAMES.sub("-", base.lower()).strip("-._")
    return model, quantisation[1].lower() if quantisation else DEFAULT_TAG


def _projector_for(model: str, projectors: list[Path], *, alone: bool) -> Path | None:
    """The one that bears the model's name; any, where the folder holds no other model."""
    for path in projectors:
        base = _name_parts(PROJECTOR.sub("-", path.stem).strip("-._"))[0]
        if base and base.strip("-._") in {model, ""}:
            return path
    return projectors[0] if alone and projectors else None


def _stand_in_digest(shards: tuple[Path, ...]) -> str:
    """Tells files apart without reading them: their own SHA-256 would take minutes."""
    facts: Mapping[str, tuple[int, int]] = {
        str(path): ((stat := path.stat()).st_size, stat.st_mtime_ns) for path in shards
    }
    return f"sha256:{hashlib.sha256(repr(facts).encode()).hexdigest()}"


def _changed_ns(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0
