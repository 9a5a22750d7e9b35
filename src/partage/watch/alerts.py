"""Raises and clears alerts: once each, with the rules' patience on the way up and down, and remembers them."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from partage.config import AlertsConfig
from partage.json_value import JsonObject
from partage.watch.picture import Picture
from partage.watch.rules import Rule, Severity, Sign

log = logging.getLogger(__name__)

REMEMBERED = 500

Key: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    rule: str
    subject: str
    severity: Severity
    message: str
    cure: str
    raised_at: float
    """Seconds since 1970."""
    cleared_at: float | None = None

    def to_json(self) -> JsonObject:
        return {
            "rule": self.rule,
            "subject": self.subject,
            "severity": self.severity,
            "message": self.message,
            "cure": self.cure,
            "raised_at": self.raised_at,
            "cleared_at": self.cleared_at,
        }


class Alerts:
    def __init__(self, rules: Sequence[Rule], limits: AlertsConfig, unix_s: Callable[[], float]) -> None:
        self._rules = list(rules)
        self._limits = limits
        self._unix_s = unix_s
        self._first_seen_s: dict[Key, float] = {}
        self._last_seen_s: dict[Key, float] = {}
        self.standing: dict[Key, Alert] = {}
        self.history: deque[Alert] = deque(maxlen=REMEMBERED)
        """Those that were cleared, the oldest first."""

    def look(self, picture: Picture) -> list[Alert]:
        """What changed: alerts newly raised, and those now cleared."""
        changes: list[Alert] = []
        for rule in list(self._rules):
            try:
                signs = {(rule.name, sign.subject): sign for sign in rule.check(picture, self._limits)}
            except Exception:  # one defective rule must not silence the others
                log.exception("alert %s is off from now on", rule.name)
                self._rules.remove(rule)
                continue
            changes += self._raise(rule, signs, picture.now_s)
            changes += self._clear(rule, signs, picture.now_s)
        return changes

    def to_json(self) -> JsonObject:
        return {
            "standing": [alert.to_json() for alert in self.standing.values()],
            "history": [alert.to_json() for alert in reversed(self.history)],
        }

    def _raise(self, rule: Rule, signs: dict[Key, Sign], now_s: float) -> list[Alert]:
        raised: list[Alert] = []
        for key, sign in signs.items():
            if key in self.standing:
                self._last_seen_s[key] = now_s
            elif not sign.firm:
                self._first_seen_s.pop(key, None)
            elif now_s - self._first_seen_s.setdefault(key, now_s) >= rule.for_s:
                del self._first_seen_s[key]
                self._last_seen_s[key] = now_s
                self.standing[key] = Alert(
                    rule=rule.name,
                    subject=sign.subject,
                    severity=rule.severity,
                    message=sign.message,
                    cure=sign.cure,
                    raised_at=self._unix_s(),
                )
                raised.append(self.standing[key])
        return raised

    def _clear(self, rule: Rule, signs: dict[Key, Sign], now_s: float) -> list[Alert]:
        cleared: list[Alert] = []
        for key in [key for key in self._first_seen_s if key[0] == rule.name and key not in signs]:
            del self._first_seen_s[key]
        for key in [key for key in self.standing if key[0] == rule.name and key not in signs]:
            if now_s - self._last_seen_s[key] >= rule.clear_after_s:
                del self._last_seen_s[key]
                over = replace(self.standing.pop(key), cleared_at=self._unix_s())
                self.history.append(over)
                cleared.append(over)
        return cleared
