from __future__ import annotations

from pathlib import Path

import pytest
from gguf_files import gguf_bytes


@pytest.fixture
def tiny_gguf(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(gguf_bytes())
    return path
