from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from partage.documents.jobs import Jobs, Order, Record, State
from partage.documents.sniff import Kind
from partage.engine.fake import settle
from partage.errors import DocumentUnreadable, NotFound, QueueFull
from partage.json_value import JsonObject


class Work:
    """Work that ends when it is told to, as it is told to."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.may_end = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self, order: Order, path: Path, progress: Callable[[JsonObject], None]) -> JsonObject:
        self.begun.append(order.name)
        assert path.read_bytes() == b"document"  # noqa: ASYNC240 nine bytes
        progress({"event": "page", "page": 1})
        await self.may_end.wait()
        if self.error is not None:
            raise self.error
        return {"pages": []}


def order(jobs: Jobs, name: str = "a.pdf") -> Order:
    (jobs.uploads / name).write_bytes(b"document")
    return Order(upload=name, kind=Kind.PDF, name=name)


async def test_a_job_goes_from_queued_to_done_and_tells_every_step(tmp_path: Path):
    work = Work()
    async with Jobs(tmp_path, work) as jobs:
        job = jobs.submit(order(jobs))
        assert job.record.state is State.QUEUED
        work.may_end.set()
        events = [str(event["event"]) async for _, event in job.follow()]
        assert events == ["running", "page", "done"]
        assert job.record.result == {"pages": []}
        assert list(jobs.uploads.iterdir()) == []


async def test_an_error_of_the_document_is_kept_with_its_status(tmp_path: Path):
    work = Work()
    work.error = DocumentUnreadable("the PDF is encrypted")
    work.may_end.set()
    async with Jobs(tmp_path, work) as jobs:
        job = jobs.submit(order(jobs))
        await job.wait_final()
        assert job.record.state is State.FAILED
        assert job.record.error == {"type": "DocumentUnreadable", "message": "the PDF is encrypted", "status": 422}


async def test_a_fault_of_ours_fails_one_job_and_the_next_is_served(tmp_path: Path):
    work = Work()
    work.error = ZeroDivisionError()
    work.may_end.set()
    async with Jobs(tmp_path, work) as jobs:
        job = jobs.submit(order(jobs))
        await job.wait_final()
        assert job.record.error is not None
        assert job.record.error["status"] == 500
        work.error = None
        second = jobs.submit(order(jobs, "b.pdf"))
        await second.wait_final()
        assert second.record.state is State.DONE


async def test_a_cancelled_job_ends_at_once_and_a_queued_one_never_begins(tmp_path: Path):
    work = Work()
    async with Jobs(tmp_path, work, at_once=1) as jobs:
        first, second = jobs.submit(order(jobs)), jobs.submit(order(jobs, "b.pdf"))
        async for _, event in first.follow():
            if event["event"] == "page":
                break
        await jobs.cancel(second.record.id)
        await jobs.cancel(first.record.id)
        assert (first.record.state, second.record.state) == (State.CANCELLED, State.CANCELLED)
        assert work.begun == ["a.pdf"]
        await jobs.cancel(first.record.id)
        with pytest.raises(NotFound):
            jobs.get(first.record.id)


async def test_unfinished_jobs_begin_again_after_a_restart_and_finished_ones_are_known(tmp_path: Path):
    work = Work()
    work.may_end.set()
    async with Jobs(tmp_path, work) as jobs:
        done = jobs.submit(order(jobs))
        await done.wait_final()
        work.may_end.clear()
        stopped = jobs.submit(order(jobs, "b.pdf"))
        async for _, event in stopped.follow():
            if event["event"] == "page":
                break
    (tmp_path / "uploads" / "stray").write_bytes(b"x")
    work.may_end.set()
    async with Jobs(tmp_path, work) as jobs:
        assert not (tmp_path / "uploads" / "stray").exists()
        assert jobs.get(done.record.id).record.result == {"pages": []}
        again = jobs.get(stopped.record.id)
        await again.wait_final()
        assert again.record.state is State.DONE
    assert work.begun == ["a.pdf", "b.pdf", "b.pdf"]


async def test_too_many_waiting_jobs_are_refused_for_now(tmp_path: Path):
    work = Work()
    async with Jobs(tmp_path, work, waiting=1) as jobs:
        jobs.submit(order(jobs))
        with pytest.raises(QueueFull):
            jobs.submit(order(jobs, "b.pdf"))
        work.may_end.set()


async def test_results_are_kept_up_to_a_number_and_an_age(tmp_path: Path):
    work = Work()
    work.may_end.set()
    now = datetime(2026, 1, 1, tzinfo=UTC)
    async with Jobs(tmp_path, work, kept=2, kept_s=3600, now=lambda: now) as jobs:
        ids: list[str] = []
        for name in ("a", "b", "c"):
            job = jobs.submit(order(jobs, name))
            await job.wait_final()
            ids.append(job.record.id)
            now += timedelta(seconds=1)
        last = jobs.submit(order(jobs, "d"))
        with pytest.raises(NotFound):
            jobs.get(ids[0])
        jobs.get(ids[1])
        await last.wait_final()
        now += timedelta(hours=2)
        final = jobs.submit(order(jobs, "e"))
        await final.wait_final()
        with pytest.raises(NotFound):
            jobs.get(ids[2])
    assert len(list((tmp_path / "jobs").iterdir())) == 1


async def test_a_disk_that_is_full_costs_a_job_its_record_and_nobody_else_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def save(jobs: Jobs, record: Record) -> None:
        if full and record.state.final:
            raise OSError(errno.ENOSPC, "No space left on device")
        kept(jobs, record)

    kept, full = Jobs._save, True
    monkeypatch.setattr(Jobs, "_save", save)
    work = Work()
    async with asyncio.timeout(10), Jobs(tmp_path, work, at_once=3) as jobs:
        done, cancelled = jobs.submit(order(jobs)), jobs.submit(order(jobs, "b.pdf"))
        await asyncio.sleep(0)
        await jobs.cancel(cancelled.record.id)
        work.may_end.set()
        await done.wait_final()
        work.error = DocumentUnreadable("the PDF is encrypted")
        unreadable = jobs.submit(order(jobs, "c.pdf"))
        await unreadable.wait_final()
        states = [job.record.state for job in (done, cancelled, unreadable)]
        assert states == [State.DONE, State.CANCELLED, State.FAILED]
        full, work.error = False, None
        after = jobs.submit(order(jobs, "d.pdf"))
        await after.wait_final()
        assert after.record.state is State.DONE
    begun = Work()
    async with Jobs(tmp_path, begun, at_once=3):
        await settle()
        assert sorted(begun.begun) == ["a.pdf", "b.pdf", "c.pdf"], "accepted, and not known to be finished"


@pytest.mark.parametrize("found", [b"", b"{", b"\0" * 100, b'{"result": {"name": "\xff"}}'])
async def test_a_record_that_cannot_be_read_is_left_alone(tmp_path: Path, found: bytes):
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "x.json").write_bytes(found)
    async with Jobs(tmp_path, Work()) as jobs:
        with pytest.raises(NotFound):
            jobs.get("x")
