"""A day of readings and alerts in a small SQLite file, which a restart does not lose. What a full disk or a lock keeps out is missing."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

from partage.device.host import HOST
from partage.watch.alerts import Alert
from partage.watch.rules import Severity
from partage.watch.sampler import Sample

log = logging.getLogger(__name__)

ROW_S = 10
"""One row per device and so many seconds: the means, of memory the most."""
KEPT_S = 86_400
MOST_BYTES = 64 << 20
MOST_ALERTS = 500

SCHEMA = """
CREATE TABLE IF NOT EXISTS device (
    at INTEGER, device TEXT, used_bytes INTEGER, engines_bytes INTEGER,
    utilisation REAL, temperature_c REAL, power_w REAL, PRIMARY KEY (at, device)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alert (
    raised_at REAL, rule TEXT, subject TEXT, severity TEXT, message TEXT, cure TEXT, cleared_at REAL,
    PRIMARY KEY (raised_at, rule, subject)) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """One device over ROW_S seconds, from `at` (seconds since 1970)."""

    at: int
    device: str
    used_bytes: int | None
    engines_bytes: int | None
    utilisation: float | None
    """Of 1."""
    temperature_c: float | None
    power_w: float | None


class History:
    """`take` and `note` are for the event loop; the file is only touched in threads, one at a time."""

    def __init__(self, path: Path, unix_s: Callable[[], float]) -> None:
        self._path = path
        self._unix_s = unix_s
        self._samples: list[Sample] = []
        self._alerts: list[Alert] = []
        self._failing = False

    def take(self, sample: Sample) -> None:
        self._samples.append(sample)

    def note(self, alerts: Iterable[Alert]) -> None:
        """Raised or cleared: written with the next rows."""
        self._alerts += alerts

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(self._write_on(), name="write the history")
            try:
                yield
            finally:
                writing.cancel()
                await asyncio.to_thread(self._write, *self._taken())

    async def _write_on(self) -> None:
        while True:
            await asyncio.sleep(ROW_S)
            await asyncio.to_thread(self._write, *self._taken())

    def _taken(self) -> tuple[list[DeviceRow], list[Alert]]:
        at = int(self._unix_s()) // ROW_S * ROW_S
        rows, alerts = rows_of(self._samples, at), self._alerts
        self._samples, self._alerts = [], []
        return rows, alerts

    def _open(self) -> closing[sqlite3.Connection]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = sqlite3.connect(self._path, timeout=5.0)
        file.execute(f"PRAGMA max_page_count = {MOST_BYTES // 4096}")
        file.executescript(SCHEMA)
        return closing(file)

    def _write(self, rows: list[DeviceRow], alerts: list[Alert]) -> None:
        if not (rows or alerts):
            return
        try:
            with self._open() as file, file:
                file.executemany(
                    "INSERT OR REPLACE INTO device VALUES (?, ?, ?, ?, ?, ?, ?)",
                    [
                        (
                            one.at,
                            one.device,
                            one.used_bytes,
                            one.engines_bytes,
                            one.utilisation,
                            one.temperature_c,
                            one.power_w,
                        )
                        for one in rows
                    ],
                )
                file.executemany(
                    "INSERT OR REPLACE INTO alert VALUES (?, ?, ?, ?, ?, ?, ?)",
                    [
                        (one.raised_at, one.rule, one.subject, one.severity, one.message, one.cure, one.cleared_at)
                        for one in alerts
                    ],
                )
                file.execute("DELETE FROM device WHERE at < ?", (self._unix_s() - KEPT_S,))
                file.execute(
                    "DELETE FROM alert WHERE raised_at < (SELECT raised_at FROM alert ORDER BY raised_at DESC LIMIT 1 OFFSET ?)",
                    (MOST_ALERTS,),
                )
        except (OSError, sqlite3.Error) as error:
            if not self._failing:
                log.warning("no history for now: %s", error)
            self._failing = True
        else:
            self._failing = False

    def rows(self, since: float) -> list[DeviceRow]:
        """Of all devices, the oldest first; empty where there is no history. Blocks."""
        try:
            with self._open() as file:
                found = file.execute("SELECT * FROM device WHERE at >= ? ORDER BY at, device", (since,)).fetchall()
        except (OSError, sqlite3.Error):
            return []
        return [DeviceRow(*row) for row in found]

    def past_alerts(self) -> list[Alert]:
        """Of earlier lives of the hub, the oldest first; one that stood when it ended counts as cleared then. Blocks."""
        try:
            with self._open() as file:
                last = file.execute("SELECT max(at) FROM device").fetchone()[0]
                found = file.execute("SELECT * FROM alert ORDER BY raised_at").fetchall()
        except (OSError, sqlite3.Error):
            return []
        return [_alert(row, last) for row in found]


def rows_of(samples: list[Sample], at: int) -> list[DeviceRow]:
    """The means of some seconds, device by device; a device that was never read has no row."""
    by_device: dict[str, list[tuple[float | None, ...]]] = {}
    for sample in samples:
        load, engines = sample.reading.load, sample.reading.engine_bytes
        if load.total_bytes is not None and load.available_bytes is not None:
            used = load.total_bytes - load.available_bytes
            by_device.setdefault(HOST, []).append((used, engines.get(HOST), load.cpu_percent, None, None))
        for gpu in sample.reading.survey.gpus:
            by_device.setdefault(gpu.uuid, []).append(
                (gpu.used_bytes, engines.get(gpu.uuid), gpu.utilisation_percent, gpu.temperature_c, gpu.power_w)
            )
    rows: list[DeviceRow] = []
    for device, readings in by_device.items():
        used, engines, percent, temperature, power = zip(*readings, strict=True)
        share = _mean(percent)
        rows.append(
            DeviceRow(
                at=at,
                device=device,
                used_bytes=_most(used),
                engines_bytes=_most(engines),
                utilisation=None if share is None else share / 100,
                temperature_c=_mean(temperature),
                power_w=_mean(power),
            )
        )
    return rows


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _most(values: Iterable[float | None]) -> int | None:
    return max((int(value) for value in values if value is not None), default=None)


def _alert(row: tuple[float, str, str, Severity, str, str, float | None], last: float | None) -> Alert:
    raised_at, rule, subject, severity, message, cure, cleared_at = row
    return Alert(
        rule=rule,
        subject=subject,
        severity=severity,
        message=message,
        cure=cure,
        raised_at=raised_at,
        cleared_at=cleared_at if cleared_at is not None else last or raised_at,
    )
