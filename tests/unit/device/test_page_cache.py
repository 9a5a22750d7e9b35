from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from partage.device.page_cache import PIECE_BYTES, cached_share, read_ahead


def test_file_that_was_just_written_is_in_the_page_cache_and_read_to_its_end(tmp_path: Path):
    path = tmp_path / "weights"
    path.write_bytes(os.urandom(1 << 20) * 9 + b"rest")
    assert cached_share(path) in {1.0, None}  # None: a filesystem that cannot say
    assert read_ahead(path, threading.Event()) == 9 * (1 << 20) + 4 > 2 * PIECE_BYTES


def test_reading_ahead_ends_when_it_is_told_to(tmp_path: Path):
    path = tmp_path / "weights"
    path.write_bytes(bytes(PIECE_BYTES))
    stop = threading.Event()
    stop.set()
    assert read_ahead(path, stop) == 0


def test_share_of_a_file_that_is_gone_is_an_error(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        cached_share(tmp_path / "gone")
