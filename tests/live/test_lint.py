"""`partage lint` as a process: what it does not wait for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.live

COMPOSE = 'services:\n  ollama:\n    image: ollama/ollama\n    ports: ["11434:11434"]\n'


def test_lint_finds_mistakes_without_importing_what_other_commands_need(tmp_path: Path):
    file = tmp_path / "compose.yaml"
    file.write_text(COMPOSE, encoding="utf-8")
    command = [sys.executable, "-X", "importtime", "-m", "partage", "lint", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert done.returncode == 1
    assert "PG060" in done.stdout
    assert "partage.deploy.lint" in imported
    assert not {"typer", "pydantic", "asyncio", "rich"} & imported


def test_lint_is_among_the_commands_and_explains_its_options():
    partage = [sys.executable, "-m", "partage"]
    commands = subprocess.run([*partage, "--help"], capture_output=True, text=True, timeout=60, check=True).stdout
    options = subprocess.run(
        [*partage, "lint", "--help"], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert "lint" in commands
    assert "--unsafe-fixes" in options
