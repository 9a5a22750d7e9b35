"""`pip install partage` alone: every command tells about itself, and who needs an extra names it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.live

EXTRAS = (
    "fastapi",
    "pypdfium2",
    "rapidocr",
    "PIL",
    "cv2",
    "reportlab",
    "jsonschema",
    "onnxruntime",
    "lancedb",
    "pyarrow",
)
PROGRAM = f"import sys; sys.modules.update(dict.fromkeys({(*EXTRAS, 'nicegui', 'textual')}))"


def partage(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"{PROGRAM}; from partage.cli.main import run; run()", *arguments],
        env={**os.environ, "PARTAGE_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_lists_every_command_and_the_version_is_printed(tmp_path: Path):
    told = partage(tmp_path, "--help")
    assert (told.returncode, told.stderr) == (0, "")
    assert "demo" in told.stdout
    assert partage(tmp_path, "--version").stdout.startswith("partage ")


@pytest.mark.parametrize("command", ["documents", "rag", "dashboard", "demo", "top"])
def test_command_that_needs_an_extra_names_it_in_one_line(tmp_path: Path, command: str):
    refused = partage(tmp_path, command)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "pip install 'partage[" in refused.stderr
