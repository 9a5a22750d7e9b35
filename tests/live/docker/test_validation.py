from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from partage.deploy.machine import described_machine
from partage.deploy.stack import DEFAULT_MODELS, choose_profiles, make_stack, write_stack
from partage.deploy.wanted import resolve
from partage.models.store import Store

pytestmark = pytest.mark.live

STACKS = {
    "cpu": "none",
    "low-vram": "1x6GiB",
    "single-gpu": "1x12GiB",
    "multi-gpu": "2x24GiB",
    "with-ollama": "none",
    "single-gpu mps": "1x24GiB",
    "cpu observability": "none",
}


@pytest.mark.parametrize("words", STACKS)
def test_compose_accepts_every_profile(words: str, tmp_path: Path):
    program = shutil.which("docker-compose")
    if program is None:
        pytest.skip("there is no docker-compose here (Debian: docker-compose)")
    devices = described_machine(STACKS[words])
    stack = make_stack(choose_profiles(words.split(), devices), devices, resolve(DEFAULT_MODELS, Store(tmp_path)))
    write_stack(stack, tmp_path)
    command = [program, "-f", "compose.yaml", "config", "--quiet"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
