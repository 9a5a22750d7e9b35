"""The watch as an operator has it: metrics, alerts and shipped files, with a real hub, Prometheus' tool, a fake Docker."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.live

RULES = Path(__file__).parents[2] / "src" / "partage" / "watch" / "shipped" / "partage.rules.yml"


def test_promtool_accepts_the_shipped_alert_rules():
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool on the PATH: apt install prometheus")
    checked = subprocess.run(
        [promtool, "check", "rules", str(RULES)], check=False, capture_output=True, text=True, timeout=60
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "9 rules found" in checked.stdout
