"""The models that are planned for, by name (pulled, or from the catalog figures), by GGUF file, or as a compose file names them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from partage.deploy.compose_file import project_of
from partage.deploy.figures import Figure, anatomy_of, find_figure, projector_of
from partage.deploy.source import read_source
from partage.deploy.variables import UNKNOWN
from partage.deploy.yaml_tree import read_yaml
from partage.domain import Anatomy
from partage.errors import InvalidRequest, ModelNotFound
from partage.models.anatomy import anatomy
from partage.models.gguf_header import read_header
from partage.models.names import canonical
from partage.models.store import Store

_MODEL_NAME = re.compile(r"(?<![\w./:-])([a-z][a-z0-9.-]*(?::[\w.-]+)?)(?![\w./:-])")
_PULL = re.compile(r"\bollama\s+(?:pull|run)\s+([\w.:/-]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    name: str
    origin: Literal["pulled", "catalog", "file"]
    anatomy: Anatomy
    projector: Anatomy | None = None
    figure: Figure | None = None
    """Only of catalog figures: what else there is of the model."""
    quantisation: str = ""

    @property
    def embedding(self) -> bool:
        return not self.anatomy.causal


def resolve(words: Sequence[str], store: Store) -> list[Wanted]:
    """Raises InvalidRequest, ModelNotFound, ModelFileError, UnreadableFile."""
    found: dict[str, Wanted] = {}
    for word in words:
        path = Path(word)
        if path.suffix in (".yml", ".yaml"):
            for name in _names_in(path, store):
                found.setdefault(name, _by_name(name, store))
        elif path.suffix == ".gguf":
            found[word] = Wanted(name=path.name, origin="file", anatomy=anatomy(read_header(path)))
        else:
            found.setdefault(word, _by_name(word, store))
    if not found:
        raise InvalidRequest(f"{', '.join(words)}: no model is named there that is pulled or in the catalog figures")
    return list(found.values())


def _by_name(name: str, store: Store) -> Wanted:
    full = canonical(name)
    if store.exists(full):
        model = store.get(full)
        return Wanted(name=name, origin="pulled", anatomy=model.anatomy, projector=model.projector)
    if known := find_figure(name):
        return from_figure(name, *known)
    raise ModelNotFound(name)


def from_figure(name: str, figure: Figure, quantisation: str) -> Wanted:
    return Wanted(
        name=name,
        origin="catalog",
        anatomy=anatomy_of(figure, quantisation),
        projector=projector_of(figure),
        figure=figure,
        quantisation=quantisation,
    )


def _names_in(path: Path, store: Store) -> Iterator[str]:
    """What services of a compose file say in variables about models, and pull; names that mean nothing here are passed over."""
    project = project_of(read_yaml(read_source(path)), {})
    if project is None:
        raise InvalidRequest(f"{path} has no services: not a compose file")
    for service in project.services.values():
        texts = [
            variable.value
            for variable in service.variables.values()
            if re.search(r"MODEL|LLM|EMBED", variable.name) and UNKNOWN not in variable.value
        ]
        for match in (match for text in texts for match in _MODEL_NAME.finditer(text)):
            if find_figure(match[1]) or store.exists(canonical(match[1])):
                yield match[1]
        for match in _PULL.finditer(service.command_line):
            if find_figure(match[1]) or store.exists(canonical(match[1])):
                yield match[1]
