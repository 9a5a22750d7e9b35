from __future__ import annotations

from pathlib import Path

import pytest

from partage.errors import StoreError
from partage.rag.mending import check_damage


@pytest.mark.parametrize("number", [5, 13, 24, 28, 30])
def test_a_disk_or_a_right_that_is_missing_is_not_taken_for_damage(number: int, tmp_path: Path):
    with pytest.raises(StoreError, match=str(tmp_path)):
        check_damage(RuntimeError(f"lance error: Permission denied (os error {number})"), tmp_path)


@pytest.mark.parametrize("words", ["failed to fill whole buffer", "No such file or directory (os error 2)"])
def test_files_that_are_short_or_gone_are_damage(words: str, tmp_path: Path):
    check_damage(RuntimeError(f"lance error: {words}"), tmp_path)
