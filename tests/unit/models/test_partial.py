from __future__ import annotations

import os
from pathlib import Path

import pytest

from partage.models.partial import sweep

MONTH_S = 30 * 86400


def test_only_what_nobody_came_back_for_is_dropped(tmp_path: Path):
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
    long_ago_s = new.stat().st_mtime - MONTH_S
    os.utime(old, (long_ago_s, long_ago_s))
    sweep(tmp_path)
    assert (old.exists(), new.exists()) == (False, True)


def test_a_pull_that_ends_beside_it_does_not_disturb_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def ends(folder: Path) -> bool:
        folder.rmdir()
        return True

    (tmp_path / "ending").mkdir()
    monkeypatch.setattr(Path, "is_dir", ends)
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []
