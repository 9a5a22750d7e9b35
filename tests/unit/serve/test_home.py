from __future__ import annotations

import os
from pathlib import Path

import pytest

from partage.errors import ConfigError
from partage.serve.home import owned, writable


def test_second_hub_is_told_who_has_the_home(tmp_path: Path):
    with owned(tmp_path / "home", "http://127.0.0.1:1"):
        wrong = (
            rf"another hub uses .*home \(process {os.getpid()} at http://127.0.0.1:1\); stop it, or set PARTAGE_HOME"
        )
        with pytest.raises(ConfigError, match=wrong), owned(tmp_path / "home", "http://127.0.0.1:2"):
            pass


def test_home_is_free_again_when_its_hub_has_gone(tmp_path: Path):
    with owned(tmp_path, "http://127.0.0.1:1"):
        pass
    with owned(tmp_path, "http://127.0.0.1:2"):
        assert "http://127.0.0.1:2" in (tmp_path / "hub.lock").read_text(encoding="utf-8")


def test_home_that_cannot_be_written_is_refused_by_name(tmp_path: Path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"cannot write in .*file.*set PARTAGE_HOME"), owned(tmp_path / "file", ""):
        pass


def test_a_service_that_cannot_write_names_itself_and_the_directory(tmp_path: Path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(
        ConfigError, match=r"^documents: cannot write in .*file/documents: Not a directory; set PARTAGE_HOME"
    ):
        writable(tmp_path / "file" / "documents", "documents")
    assert writable(tmp_path / "new" / "rag", "rag").is_dir()
    assert not list((tmp_path / "new" / "rag").iterdir()), "nothing is left there"
