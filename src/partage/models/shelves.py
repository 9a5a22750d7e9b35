"""Every model on this machine: those of our own store, then those in directories that are only read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from partage.domain import Model
from partage.errors import Forbidden, ModelNotFound, StoreError
from partage.models import names
from partage.models.names import Name
from partage.models.store import Store


class Shelf(Protocol):
    """A directory of models that somebody else keeps."""

    def __str__(self) -> str:
        """Say what it is, for people: "the Ollama directory /x"."""
        ...

    def list(self) -> list[Model]:
        """Every model that can be used; others are logged and left out."""
        ...

    def find(self, name: Name) -> Model | None:
        """Raises ModelFileError where it is there, but broken."""
        ...


class Shelves:
    def __init__(self, store: Store, shelves: Sequence[Shelf] = ()) -> None:
        self.store = store
        self._shelves = tuple(shelves)

    def list(self) -> list[Model]:
        """By name; of two with one name the store's counts, then the first shelf's. Raises StoreError."""
        found = {model.name: model for model in self.store.list()}
        for shelf in self._shelves:
            for model in shelf.list():
                found.setdefault(model.name, model)
        return sorted(found.values(), key=lambda model: model.name)

    def find(self, name: str) -> Model | None:
        """None where nobody here has it. Raises InvalidRequest, ModelFileError."""
        try:
            return self.store.get(name)
        except ModelNotFound:
            found = self._on_shelf(name)
            return None if found is None else found[1]

    def get(self, name: str) -> Model:
        """Raises InvalidRequest, ModelNotFound, ModelFileError."""
        model = self.find(name)
        if model is None:
            raise self._not_found(name)
        return model

    def remove(self, name: str) -> None:
        """Raises InvalidRequest, ModelNotFound, StoreError; Forbidden for what lies in somebody else's directory."""
        try:
            self.store.remove(name)
        except ModelNotFound:
            found = self._on_shelf(name)
            if found is None:
                raise self._not_found(name) from None
            shelf, model = found
            raise Forbidden(
                f"{model.name} lies in {shelf}, which is only read here: remove it there, or take the directory out of "
                "the configuration"
            ) from None

    def _not_found(self, name: str) -> ModelNotFound:
        """Reads every model there is, for the names that may have been meant."""
        try:
            near = names.near(name, [model.name for model in self.list()])
        except StoreError:
            near = []
        return ModelNotFound(names.canonical(name), near=near)

    def _on_shelf(self, name: str) -> tuple[Shelf, Model] | None:
        parsed = names.parse(name)
        return next(((shelf, model) for shelf in self._shelves if (model := shelf.find(parsed)) is not None), None)
