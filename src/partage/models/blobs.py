"""Fetches large files in parallel ranges, to be taken up again wherever they were left: also after a SIGKILL.

A file grows in partial/<sha256>/ beside ranges.json, which says how far each range has got and is renewed every half
second. At the end its SHA-256 is computed over the whole, so that whatever the ranges say, only what was promised stays.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import aiohttp
import msgspec

from partage.errors import DigestMismatch, PullError
from partage.models.alongside import TICK_S, alongside, wait_a_tick, wait_thread
from partage.models.connection import ConnectionLost
from partage.models.disk import check_space, disk_errors
from partage.models.partial import wait_for_lock
from partage.models.progress import PullProgress
from partage.models.store import Store

RANGE_BYTES = 32 << 20
_CHUNK_BYTES = 1 << 20
_HASH_BYTES = 32 << 20
_MOST_FAILURES = 5
_FIRST_PAUSE_S = 0.25
_SAVE_S = 0.5
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)\Z")

Opened: TypeAlias = AbstractAsyncContextManager[aiohttp.ClientResponse]
Open: TypeAlias = Callable[[Mapping[str, str]], Opened]
"""Asks for the file with these headers (Range)."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file by its digest."""

    digest: str
    size_bytes: int
    open: Open

    @property
    def hex(self) -> str:
        return self.digest.removeprefix("sha256:")


class _Range(msgspec.Struct):
    start: int
    end: int
    """One past the last byte."""
    done: int = 0

    @property
    def position(self) -> int:
        return self.start + self.done


@dataclass(slots=True)
class _Download:
    """One file on its way."""

    wanted: Wanted
    folder: Path
    ranges: list[_Range] = field(default_factory=list[_Range])
    whole: bool = False
    """The server knows no ranges."""

    @property
    def file(self) -> Path:
        return self.folder / "blob"

    @property
    def completed_bytes(self) -> int:
        return sum(one.done for one in self.ranges)

    def open(self) -> int:
        """A descriptor of the file, with what an earlier pull left in it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        there = os.fstat(descriptor).st_size == self.wanted.size_bytes
        self.ranges = (self._left_off() if there else None) or self._fresh()
        os.truncate(descriptor, self.wanted.size_bytes)
        return descriptor

    def save(self) -> None:
        temporary = self.folder / "ranges.new"
        temporary.write_bytes(msgspec.json.encode(self.ranges))
        temporary.replace(self.folder / "ranges.json")

    def _left_off(self) -> list[_Range] | None:
        """None where it cannot be made out. Wrong figures are found out by the digest."""
        try:
            ranges = msgspec.json.decode((self.folder / "ranges.json").read_bytes(), type=list[_Range])
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return None
        starts, ends = [one.start for one in ranges], [one.end for one in ranges]
        whole = [0, *ends] == [*starts, self.wanted.size_bytes]
        return ranges if whole and all(0 <= one.done <= one.end - one.start for one in ranges) else None

    def _fresh(self) -> list[_Range]:
        size = self.wanted.size_bytes
        return [_Range(start, min(start + RANGE_BYTES, size)) for start in range(0, size, RANGE_BYTES)]


async def fetch(
    store: Store, wanted: list[Wanted], held: ExitStack, *, streams: int
) -> AsyncGenerator[PullProgress, None]:
    """Bring the files that the store lacks into partial/, whole and checked; fetched() says where they are.

    `held` keeps their locks until the caller has taken them. Raises PullError, DigestMismatch, DiskFull, StoreError.
    """
    with disk_errors(store.home):
        store.partial.mkdir(parents=True, exist_ok=True)
        for one in sorted(wanted, key=lambda one: one.digest):  # always in one order, or two pulls wait for each other
            async with aclosing(wait_for_lock(held, store.partial, one.hex)) as steps:
                async for step in steps:
                    yield step
        missing = [one for one in wanted if not store.has_blob(one.digest, one.size_bytes)]
        downloads = [_Download(one, store.partial / one.hex) for one in missing]
        check_space(store.partial, {f"model {each.wanted.hex[:12]}": _missing_bytes(each) for each in downloads})
        for download in downloads:
            async with aclosing(_fetch_one(download, streams)) as steps:
                async for step in steps:
                    yield step
        for download in downloads:
            async with aclosing(_verify(download)) as steps:
                async for step in steps:
                    yield step


def fetched(store: Store, wanted: list[Wanted]) -> dict[str, Path]:
    """Digest -> file in partial/, for those that were not in the store already."""
    files = {one.digest: store.partial / one.hex / "blob" for one in wanted}
    return {digest: file for digest, file in files.items() if file.is_file() and not store.has_blob(digest)}


def clean_up(store: Store, wanted: list[Wanted]) -> None:
    for one in wanted:
        shutil.rmtree(store.partial / one.hex, ignore_errors=True)


def _missing_bytes(download: _Download) -> int:
    """What is still to be written: the file of an interrupted pull is sparse, and holds so many blocks already."""
    try:
        there = download.file.stat().st_blocks * 512
    except OSError:
        there = 0
    return max(0, download.wanted.size_bytes - there)


async def _fetch_one(download: _Download, streams: int) -> AsyncGenerator[PullProgress, None]:
    def progress() -> PullProgress:
        wanted = download.wanted
        return PullProgress(
            f"pulling {wanted.hex[:12]}",
            wanted.digest,
            wanted.size_bytes,
            min(download.completed_bytes, wanted.size_bytes),
        )

    with ExitStack() as held:
        descriptor = download.open()
        held.callback(os.close, descriptor)
        held.callback(download.save)
        async with alongside(_all_ranges(download, descriptor, streams)) as task:
            since_saved_s = 0.0
            while not task.done():
                yield progress()
                await wait_a_tick(task)
                since_saved_s += TICK_S
                if since_saved_s >= _SAVE_S:
                    download.save()
                    since_saved_s = 0.0
            task.result()
        yield progress()


async def _all_ranges(download: _Download, descriptor: int, streams: int) -> None:
    waiting = deque(one for one in download.ranges if one.position < one.end)

    async def stream() -> None:
        while waiting:
            await _one_range(download, waiting.popleft(), descriptor)

    try:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(max(1, streams), len(waiting))):
                tasks.create_task(stream())
    except ExceptionGroup as group:
        raise _leaves(group)[0] from group


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    return [
        leaf for one in group.exceptions for leaf in (_leaves(one) if isinstance(one, BaseExceptionGroup) else [one])
    ]


async def _one_range(download: _Download, one: _Range, descriptor: int) -> None:
    """Fetch until the range is whole; a stream that breaks off is taken up where it stopped, a few times."""
    failures = 0
    while one.position < one.end and not download.whole:
        before = one.done
        try:
            await _stream_range(download, one, descriptor)
        except ConnectionLost:
            if download.whole:
                raise
            failures = 1 if one.done > before else failures + 1
            if failures >= _MOST_FAILURES:
                raise
            await asyncio.sleep(_FIRST_PAUSE_S * 2**failures)


async def _stream_range(download: _Download, one: _Range, descriptor: int) -> None:
    wanted = download.wanted
    async with wanted.open({"Range": f"bytes={one.position}-{one.end - 1}"}) as response:
        if response.status == 206:
            _check_range(response, one, wanted)
        elif download.whole:
            return
        else:
            # The server does not know ranges: whoever learns it first takes the whole file, from its beginning.
            one = _Range(0, wanted.size_bytes)
            download.whole, download.ranges = True, [one]
        async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
            if one.position + len(chunk) > one.end:
                raise DigestMismatch(f"{response.url.host} sends more than the {wanted.size_bytes} bytes promised")
            # In a thread: a busy disk must not hold up those who are being served.
            await wait_thread(_write, descriptor, chunk, one.position)
            one.done += len(chunk)
        if one.position < one.end:
            raise ConnectionLost(f"{response.url.host} broke off at {one.position} of {wanted.size_bytes} bytes")


def _check_range(response: aiohttp.ClientResponse, one: _Range, wanted: Wanted) -> None:
    found = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != one.position:
        raise PullError(f"{response.url.host} answered with another range than was asked for")
    if int(found[3]) != wanted.size_bytes:
        raise DigestMismatch(
            f"{wanted.digest[:19]} is {found[3]} bytes long at {response.url.host}; {wanted.size_bytes} were promised"
        )


def _write(descriptor: int, chunk: bytes, position: int) -> None:
    view = memoryview(chunk)
    while view:
        written = os.pwrite(descriptor, view, position)
        view, position = view[written:], position + written


async def _verify(download: _Download) -> AsyncGenerator[PullProgress, None]:
    wanted, hashed, sha256 = download.wanted, 0, hashlib.sha256()
    with download.file.open("rb") as file:
        while True:
            yield PullProgress("verifying sha256 digest", wanted.digest, wanted.size_bytes, hashed)
            chunk = await wait_thread(file.read, _HASH_BYTES)
            if not chunk:
                break
            await wait_thread(sha256.update, chunk)
            hashed += len(chunk)
        await wait_thread(os.fsync, file.fileno())
    if sha256.hexdigest() != wanted.hex:
        shutil.rmtree(download.folder, ignore_errors=True)
        raise DigestMismatch(
            f"what arrived has sha256 {sha256.hexdigest()[:12]}..., promised was {wanted.hex[:12]}...; discarded"
        )
