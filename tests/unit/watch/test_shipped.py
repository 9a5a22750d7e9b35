from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from .conftest import Observed

SHIPPED = Path(__file__).parents[3] / "src" / "partage" / "watch" / "shipped"


def known(observed: Observed) -> set[str]:
    families = [*observed.metrics.families(), *observed.gauges.families()]
    names = {family.name for family in families}
    return names | {
        f"{f.name}_{part}" for f in families if f.kind == "histogram" for part in ("bucket", "sum", "count")
    }


def expressions() -> list[str]:
    rules: Any = YAML(typ="safe", pure=True).load(SHIPPED / "partage.rules.yml")
    dashboard: Any = json.loads((SHIPPED / "grafana.json").read_text(encoding="utf-8"))
    return [
        *(str(rule["expr"]) for group in rules["groups"] for rule in group["rules"]),
        *(str(target["expr"]) for panel in dashboard["panels"] for target in panel["targets"]),
    ]


@pytest.mark.parametrize("expression", expressions())
def test_the_shipped_files_ask_for_metrics_that_there_are(expression: str, observed: Observed):
    asked = set(re.findall(r"\bpartage_\w+", expression))
    assert asked <= known(observed)
    assert asked or "up{" in expression


def test_every_alert_says_what_to_do():
    rules: Any = YAML(typ="safe", pure=True).load(SHIPPED / "partage.rules.yml")
    for rule in rules["groups"][0]["rules"]:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]


def test_the_panels_do_not_overlap():
    dashboard: Any = json.loads((SHIPPED / "grafana.json").read_text(encoding="utf-8"))
    cells = [
        (x, y)
        for panel in dashboard["panels"]
        for place in (panel["gridPos"],)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
