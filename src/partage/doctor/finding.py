"""What a check finds: what it looked at, what it saw, why it matters, and the command that mends it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from partage.doctor.machine import Machine
from partage.json_value import JsonObject

Severity: TypeAlias = Literal["hint", "warning", "error"]
"""hint: works, could be better; warning: works until it hurts; error: does not work."""
EXIT_CODES: dict[Severity, int] = {"hint": 0, "warning": 1, "error": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    severity: Severity
    looked_at: str
    found: str
    why: str
    mend: str
    """A command to paste, or the lines to write into a file."""


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    run: Callable[[Machine], Iterable[Finding]]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    check: str
    finding: Finding

    def to_json(self) -> JsonObject:
        one = self.finding
        return {
            "check": self.check,
            "severity": one.severity,
            "looked_at": one.looked_at,
            "found": one.found,
            "why": one.why,
            "mend": one.mend,
        }


def exit_code(diagnoses: Iterable[Diagnosis]) -> int:
    """By the worst: 0 nothing or hints, 1 warnings, 2 errors."""
    return max((EXIT_CODES[one.finding.severity] for one in diagnoses), default=0)
