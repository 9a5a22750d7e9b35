"""Jobs: accepted documents on their way to a result, kept on disk so that neither a timeout nor a restart loses one."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from partage.documents.sniff import Kind
from partage.errors import NotFound, PartageError, QueueFull
from partage.json_value import JsonObject
from partage.service_problems import problem_of

log = logging.getLogger(__name__)
Progress = Callable[[JsonObject], None]


class State(StrEnum):
    """queued -> running -> done | failed; cancelled from the first two."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self in (State.DONE, State.FAILED, State.CANCELLED)


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for: enough to begin again after a restart."""

    upload: str
    kind: Kind
    name: str
    schema: str | None = None
    model: str | None = None


class Record(msgspec.Struct, kw_only=True):
    """A job as it is kept on disk."""

    id: str
    order: Order
    state: State = State.QUEUED
    created_at: str = ""
    finished_at: str | None = None
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


@dataclass(slots=True)
class Job:
    record: Record
    events: list[JsonObject] = field(default_factory=list[JsonObject])
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    task: asyncio.Task[None] | None = None

    async def wait_final(self) -> None:
        async with self.changed:
            await self.changed.wait_for(lambda: self.record.state.final)

    async def follow(self, after: int = 0) -> AsyncGenerator[tuple[int, JsonObject]]:
        """Every event with its number, from the one after `after` until the job is final."""
        at = after
        while True:
            async with self.changed:
                await self.changed.wait_for(lambda seen=at: len(self.events) > seen or self.record.state.final)
            while at < len(self.events):
                at += 1
                yield at, self.events[at - 1]
            if self.record.state.final and at >= len(self.events):
                return


Work = Callable[[Order, Path, Progress], Awaitable[JsonObject]]


class Jobs:
    """Runs orders, `at_once` side by side, and keeps what came of them. Used as an async context manager."""

    def __init__(
        self,
        directory: Path,
        work: Work,
        *,
        at_once: int = 1,
        waiting: int = 64,
        kept: int = 500,
        kept_s: float = 7 * 24 * 3600,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.uploads = directory / "uploads"
        self._records = directory / "jobs"
        self._work = work
        self._slots = asyncio.Semaphore(at_once)
        self._waiting, self._kept, self._kept_s, self._now = waiting, kept, kept_s, now
        self._jobs: dict[str, Job] = {}
        self._tasks = asyncio.TaskGroup()
        self._stopping = False

    async def __aenter__(self) -> Self:
        for directory in (self.uploads, self._records):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        await self._tasks.__aenter__()
        self._take_up()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What is unfinished stays on disk as it is and goes on at the next start.
        self._stopping = True
        for job in self._jobs.values():
            if job.task is not None:
                job.task.cancel()
        await self._tasks.__aexit__(None, None, None)

    def check_room(self) -> None:
        """Raises QueueFull; asked before an upload is taken, so that nobody sends megabytes in vain."""
        unfinished = sum(not job.record.state.final for job in self._jobs.values())
        if unfinished >= self._waiting:
            raise QueueFull(f"{unfinished} documents are waiting already; try again later", retry_after_s=10)

    def submit(self, order: Order) -> Job:
        self.check_room()
        record = Record(id=secrets.token_urlsafe(12), order=order, created_at=self._now().isoformat())
        self._save(record)
        self._forget_old()
        return self._begin(record)

    def get(self, id_: str) -> Job:
        job = self._jobs.get(id_)
        if job is None:
            raise NotFound(f"there is no job '{id_[:40]}'; finished ones are kept for {self._kept_s / 3600:g} hours")
        return job

    async def cancel(self, id_: str) -> Job:
        """Stop it if it is unfinished; a finished one is forgotten with its result."""
        job = self.get(id_)
        if job.record.state.final:
            self._forget(job)
        else:
            await self._finish(job, State.CANCELLED)
            if job.task is not None:
                job.task.cancel()
        return job

    def count(self, state: State) -> int:
        return sum(job.record.state is state for job in self._jobs.values())

    def _begin(self, record: Record) -> Job:
        job = self._jobs[record.id] = Job(record)
        job.task = self._tasks.create_task(self._run(job))
        return job

    async def _run(self, job: Job) -> None:
        record = job.record
        loop = asyncio.get_running_loop()

        def progress(event: JsonObject) -> None:
            job.events.append(event)
            self._tasks.create_task(_notify(job))

        try:
            async with self._slots:
                record.state = State.RUNNING
                progress({"event": "running"})
                started = loop.time()
                record.result = await self._work(record.order, self.uploads / record.order.upload, progress)
                log.info("job %s: %s done in %.1f s", record.id, record.order.name, loop.time() - started)
            await self._finish(job, State.DONE)
        except asyncio.CancelledError:
            if not record.state.final and not self._stopping:
                await self._finish(job, State.CANCELLED)
            raise
        except PartageError as error:
            record.error = problem_of(error)
            await self._finish(job, State.FAILED)
        except Exception:  # the loop's edge: a fault of ours in one document must not end the service
            log.exception("job %s failed", record.id)
            record.error = problem_of(PartageError("the document service failed on this document; its log says why"))
            await self._finish(job, State.FAILED)

    async def _finish(self, job: Job, state: State) -> None:
        record = job.record
        if record.state.final:
            return
        record.state, record.finished_at = state, self._now().isoformat()
        try:
            self._save(record)
            (self.uploads / record.order.upload).unlink(missing_ok=True)
        except OSError as error:  # whoever waits is told all the same; after a restart it begins again
            log.warning("job %s is not kept: %s", record.id, error)
        event: JsonObject = {"event": state.value}
        if record.error is not None:
            event["error"] = record.error
        job.events.append(event)
        await _notify(job)

    def _save(self, record: Record) -> None:
        path = self._records / f"{record.id}.json"
        scratch = path.with_suffix(".part")
        scratch.write_bytes(msgspec.json.encode(record))
        scratch.replace(path)

    def _take_up(self) -> None:
        """After a restart: finished jobs are known again, unfinished ones begin again, stray uploads go."""
        for path in sorted(self._records.glob("*.json")):
            try:
                record = msgspec.json.decode(path.read_bytes(), type=Record)
            except (ValueError, OSError):  # also UnicodeDecodeError, which is no MsgspecError
                log.warning("%s is not a job record; left alone", path)
                continue
            if record.state.final:
                self._jobs[record.id] = Job(record, [{"event": record.state.value}])
            else:
                record.state = State.QUEUED
                self._begin(record)
        wanted = {job.record.order.upload for job in self._jobs.values() if not job.record.state.final}
        for path in self.uploads.iterdir():
            if path.name not in wanted:
                path.unlink(missing_ok=True)
        self._forget_old()

    def _forget_old(self) -> None:
        finished = sorted(
            (job for job in self._jobs.values() if job.record.state.final), key=lambda job: job.record.finished_at or ""
        )
        now = self._now()
        for at, job in enumerate(finished):
            age_s = (now - datetime.fromisoformat(job.record.finished_at or job.record.created_at)).total_seconds()
            if age_s > self._kept_s or at < len(finished) - self._kept:
                self._forget(job)

    def _forget(self, job: Job) -> None:
        self._jobs.pop(job.record.id, None)
        with suppress(FileNotFoundError):
            (self._records / f"{job.record.id}.json").unlink()


async def _notify(job: Job) -> None:
    async with job.changed:
        job.changed.notify_all()
