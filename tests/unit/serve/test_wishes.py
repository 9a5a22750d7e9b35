from __future__ import annotations

import pytest

from partage.domain import Model, Remote
from partage.errors import ConfigError
from partage.hub.library import Library
from partage.serve.wishes import check_names, tell_absent


class Empty:
    def list(self) -> list[Model]:
        return []

    def find(self, name: str) -> Model | None:
        return None

    def remove(self, name: str) -> None: ...


def test_settings_for_a_model_that_is_not_here_are_told(caplog: pytest.LogCaptureFixture):
    remote = Remote(kind="ollama", url="http://gpu.example.com", slots=4, key="", model="llava:13b")
    tell_absent(["llava:13b", "lava:13b"], Library(Empty(), {"llava:13b": remote}))
    assert [record.getMessage() for record in caplog.records] == [
        "models.lava:13b in partage.yaml has no effect: there is no such model here yet"
    ]


def test_a_name_that_no_model_can_have_is_refused():
    check_names(["llama3.2", "hf.co/user/repo:Q4_K_M"])
    with pytest.raises(ConfigError, match="bad name!"):
        check_names(["bad name!"])
