"""Every lint rule, by code."""

from __future__ import annotations

from typing import Any

from partage.deploy.findings import Rule
from partage.deploy.rules import device_requests, exposure, file, health, images, memory, ollama, runtime, sharing

UNREADABLE = "PG001"
"""Not a rule but a report: the file could not be read."""

RULES: dict[str, Rule[Any]] = {
    rule.code: rule
    for rule in sorted(
        (
            *device_requests.RULES, *exposure.RULES, *file.RULES, *health.RULES, *images.RULES, *memory.RULES, *ollama.RULES,
            *runtime.RULES, *sharing.RULES,
        ),
        key=lambda rule: rule.code,
    )
}  # fmt: skip
