"""Sends alerts out: to any service apprise knows, and to a plain webhook. In a thread of its own, for networks block.

Bounded: of too many waiting messages the oldest goes. What could not be sent is tried again, later and later. The thread
is a daemon: a notifier that hangs keeps nothing from ending.
"""

from __future__ import annotations

import json
import logging
import threading
import urllib.request
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from partage.errors import ConfigError
from partage.json_value import JsonObject
from partage.watch.alerts import Alert

log = logging.getLogger(__name__)

MOST_WAITING = 200
RETRY_S = (5.0, 15.0, 60.0, 300.0)
"""Pauses after the first, second ... failure in a row; the last one for ever."""
TIMEOUT_S = 10.0

Send = Callable[[Alert], None]
"""Raises whatever went wrong."""


@dataclass(slots=True)
class _Target:
    name: str
    send: Send
    waiting: deque[Alert]
    failures: int = 0
    next_try_s: float = 0.0


class Notifier:
    """`tell` never blocks and never fails."""

    def __init__(self, targets: Iterable[tuple[str, Send]], now_s: Callable[[], float]) -> None:
        self._targets = [_Target(name, send, deque(maxlen=MOST_WAITING)) for name, send in targets]
        self._now_s = now_s
        self._news = threading.Event()
        self._ended = False

    def start(self) -> None:
        if self._targets:
            threading.Thread(target=self._run, name="notifier", daemon=True).start()

    def stop(self) -> None:
        """No wait: what is still unsent is in the history."""
        self._ended = True
        self._news.set()

    def tell(self, alert: Alert) -> None:
        for target in self._targets:
            target.waiting.append(alert)
        self._news.set()

    def unsent(self) -> int:
        return max((len(target.waiting) for target in self._targets), default=0)

    def send_due(self) -> None:
        """Try every target whose pause is over; for the thread, and for tests."""
        for target in self._targets:
            while target.waiting and self._now_s() >= target.next_try_s:
                alert = target.waiting[0]
                try:
                    target.send(alert)
                except Exception as error:  # noqa: BLE001 - whatever a service does, the others are told
                    pause_s = RETRY_S[min(target.failures, len(RETRY_S) - 1)]
                    target.failures += 1
                    target.next_try_s = self._now_s() + pause_s
                    log.warning(
                        "%s could not be told; again in %.0f s (%s)", target.name, pause_s, type(error).__name__
                    )
                else:
                    target.failures = 0
                    if target.waiting and target.waiting[0] is alert:  # not pushed out meanwhile
                        target.waiting.popleft()

    def _run(self) -> None:
        while not self._ended:
            self._news.clear()
            self.send_due()
            self._news.wait(RETRY_S[0] if self.unsent() else None)


def targets_of(addresses: Sequence[str], webhook: str | None) -> list[tuple[str, Send]]:
    """A name for the log and a way to send, for each. The addresses hold secrets: only their kind is ever logged.

    Raises ConfigError.
    """
    targets = [(address.split(":", 1)[0], _by_apprise(address, n)) for n, address in enumerate(addresses)]
    return [*targets, ("webhook", _by_webhook(webhook))] if webhook else targets


def _by_apprise(address: str, number: int) -> Send:
    import apprise  # noqa: PLC0415 a third of a second, which only who uses it pays

    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # below that it repeats addresses
    service = apprise.Apprise()
    if not service.add(address):
        kind, separator, _ = address.partition("://")
        raise ConfigError(
            f"alerts.notify[{number}]: apprise cannot send to this {kind + separator if separator else 'text'}: there is no such "
            "service, or a part is missing; write it as apprise does: ntfys://TOPIC, mailtos://USER:PASSWORD@HOST"
        )

    def send(alert: Alert) -> None:
        kind = apprise.NotifyType.SUCCESS if alert.cleared_at else apprise.NotifyType.WARNING
        if not service.notify(title=title_of(alert), body=f"{alert.message}\n\n{alert.cure}", notify_type=kind):
            raise OSError("not sent")

    return send


def _by_webhook(address: str) -> Send:
    if not address.startswith(("http://", "https://")):
        raise ConfigError("alerts.webhook must begin with http:// or https://")

    def send(alert: Alert) -> None:
        body: JsonObject = {"title": title_of(alert), **alert.to_json()}
        request = urllib.request.Request(  # noqa: S310 the scheme was checked
            address, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):  # noqa: S310
            pass

    return send


def title_of(alert: Alert) -> str:
    return f"Partage: {alert.rule} {'is over' if alert.cleared_at else alert.severity} ({alert.subject})"
