from __future__ import annotations

import sys

import pytest

from partage.errors import ConfigError
from partage.serve.extras import is_installed, require


def test_service_whose_extra_is_missing_names_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "lancedb", None)
    assert not is_installed("rag")
    with pytest.raises(ConfigError, match=r"the demo needs lancedb.*pip install 'partage\[documents,rag\]'"):
        require("the demo", "documents", "rag")


def test_what_is_installed_is_required_silently():
    require("the demo", "documents", "rag", "dashboard")
