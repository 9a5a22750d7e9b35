"""Models that can be asked for: those in the store, then those that adopted servers offer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from partage.domain import Anatomy, Capability, Model, Remote
from partage.errors import InvalidRequest, ModelNotFound
from partage.models.names import canonical, near

CONTEXT_UNKNOWN_TOKENS = 131072
"""An adopted server decides for itself; this only has to be large enough to stop nothing."""
MODIFIED_UNKNOWN = "1970-01-01T00:00:00Z"
"""Clients fail on a date that is missing."""


class Store(Protocol):
    def list(self) -> list[Model]: ...

    def find(self, name: str) -> Model | None: ...

    def remove(self, name: str) -> None: ...


class Library:
    def __init__(self, store: Store, remotes: Mapping[str, Remote]) -> None:
        """`remotes`: model name -> where it is served."""
        self._store = store
        self._remote: dict[str, Model] = {}
        self.adopt(remotes)

    def adopt(self, remotes: Mapping[str, Remote]) -> None:
        """In place of all that were adopted before."""
        self._remote = {canonical(name): _remote_model(canonical(name), remote) for name, remote in remotes.items()}

    def list(self) -> list[Model]:
        local = self._store.list()
        names = {model.name for model in local}
        return local + [model for model in self._remote.values() if model.name not in names]

    def get(self, name: str) -> Model:
        """The model of that name, else of one that differs only in upper and lower case, as Ollama has it.

        Raises InvalidRequest, ModelNotFound.
        """
        wanted = canonical(name)
        found = self._store.find(name) or self._remote.get(wanted)
        return self._in_other_letters(name, wanted.lower()) if found is None else found

    def _in_other_letters(self, name: str, wanted: str) -> Model:
        models = self.list()
        for model in models:
            if model.name.lower() == wanted:
                return model
        here = [model.name for model in models if model.remote is None]
        raise ModelNotFound(name, near=near(name, here))  # by the name it was asked for

    def remove(self, name: str) -> None:
        """Raises ModelNotFound; InvalidRequest for a model that is an adopted server's."""
        model = self.get(name)
        if model.remote is not None:
            raise InvalidRequest(f"model '{name}' is served by an adopted server; remove it there or from partage.yaml")
        self._store.remove(model.name)


def _remote_model(name: str, remote: Remote) -> Model:
    anatomy = Anatomy(
        architecture="remote",
        layers=0,
        embedding_length=0,
        feed_forward_length=(),
        heads=(),
        heads_kv=(),
        key_length=0,
        value_length=0,
        context_train_tokens=CONTEXT_UNKNOWN_TOKENS,
        vocab_tokens=0,
        causal=True,
        tensors=(),
        metadata={},
    )
    return Model(
        name=name,
        digest=f"remote:{remote.url}",
        path="",
        anatomy=anatomy,
        capabilities=frozenset(Capability),
        modified_at=MODIFIED_UNKNOWN,
        source=f"{remote.kind} at {remote.url}",
        remote=remote,
    )
