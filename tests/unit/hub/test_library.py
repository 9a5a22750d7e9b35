from __future__ import annotations

from dataclasses import replace

import pytest

from partage.api.fake_hub import CHATTY, EMBEDDER
from partage.domain import Model, Remote
from partage.errors import ModelNotFound
from partage.hub.library import Library
from partage.models.names import canonical


class Two:
    """A store of two models whose names differ from what people write."""

    def __init__(self) -> None:
        self.models = {model.name: model for model in (replace(CHATTY, name="Chatty:8B-q4"), EMBEDDER)}

    def list(self) -> list[Model]:
        return list(self.models.values())

    def find(self, name: str) -> Model | None:
        return self.models.get(canonical(name))

    def remove(self, name: str) -> None:
        del self.models[canonical(name)]


@pytest.fixture
def library() -> Library:
    return Library(Two(), {"Far/Model": Remote(kind="openai", url="http://far.example.com", slots=1)})


@pytest.mark.parametrize(
    ("written", "name"),
    [("chatty:8b-Q4", "Chatty:8B-q4"), ("EMBEDDER", "embedder:latest"), ("far/model:LATEST", "Far/Model:latest")],
)
def test_a_model_is_found_however_its_letters_are_written(library: Library, written: str, name: str):
    assert library.get(written).name == name


def test_a_model_that_is_not_there_is_named_as_it_was_asked_for(library: Library):
    with pytest.raises(ModelNotFound, match="'Chatty' not found"):
        library.get("Chatty")


def test_an_adopted_model_is_found_without_reading_every_other(library: Library, monkeypatch: pytest.MonkeyPatch):
    def unread(_: Two) -> list[Model]:
        raise AssertionError

    monkeypatch.setattr(Two, "list", unread)
    assert library.get("Far/Model").name == "Far/Model:latest"


def test_what_is_removed_is_what_was_found(library: Library):
    library.remove("CHATTY:8b-q4")
    assert [model.name for model in library.list()] == ["embedder:latest", "Far/Model:latest"]
