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

    def get(self, name: str) -> Model:
        """Raises InvalidRequest, ModelNotFound, ModelFileError."""
        try:
            return self.store.get(name)
        except ModelNotFound as error:
            found = self._find(name)
            if found is None:
                raise ModelNotFound(error.model, near=self._near(name)) from None
            return found[1]

    def remove(self, name: str) -> None:
        """Raises InvalidRequest, ModelNotFound, StoreError; Forbidden for what lies in somebody else's directory."""
        try:
            self.store.remove(name)
        except ModelNotFound as error:
            found = self._find(name)
            if found is None:
                raise ModelNotFound(error.model, near=self._near(name)) from None
            shelf, model = found
            raise Forbidden(
                f"{model.name} lies in {shelf}, which is only read here: remove it there, or take the directory out of "
                "the configuration"
            ) from None

    def _near(self, name: str) -> list[str]:
        try:
            return names.near(name, [model.name for model in self.list()])
        except StoreError:
            return []

    def _find(self, name: str) -> tuple[Shelf, Model] | None:
        parsed = names.parse(name)
        return next(((shelf, model) for shelf in self._shelves if (model := shelf.find(parsed)) is not None), None)
