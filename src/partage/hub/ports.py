"""What the hub asks of its library, its profiles, its journal and those who look on; the composition root has the real ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from partage.domain import Client, DeviceId, Model
from partage.errors import PartageError
from partage.policy.actions import Action
from partage.policy.events import Event, ModelLearned
from partage.policy.settings import PolicySettings


class Library(Protocol):
    """Where models are looked up; models/store.py, and the adopted servers beside it."""

    def list(self) -> list[Model]: ...

    def get(self, name: str) -> Model:
        """Raises ModelNotFound."""
        ...

    def remove(self, name: str) -> None: ...


class Profiles(Protocol):
    """What the policy is told of a model; hub/profiles.py."""

    def learn(self, model: Model, context_tokens: int | None) -> ModelLearned | None:
        """News about the model: at the first sight of it, and when more context is asked for. None: nothing new."""
        ...

    def forget(self, model: str) -> None: ...

    def keep_alive_s(self, model: str) -> float | None: ...

    def overhead_measured(self, device: DeviceId, size: int) -> None:
        """What the driver takes for one process there is known better."""
        ...


class Journal(Protocol):
    def begin(self, at_s: float, settings: PolicySettings) -> None: ...

    def write(self, at_s: float, event: Event, actions: Sequence[Action]) -> None: ...


class Observer(Protocol):
    """Sees what happens as it happens, inside the loop: quick, and without a say. What it raises ends it, not the hub."""

    def decided(self, at_s: float, event: Event, actions: Sequence[Action]) -> None: ...

    def refused(self, client: Client, model: str, error: PartageError) -> None:
        """Also for what never reached the policy: a quota, an unknown model."""
        ...
