"""Files that clients send to make models of: streamed to the disk, checked against their digest, kept for a week."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from partage.errors import InvalidRequest
from partage.models.alongside import wait_thread
from partage.models.disk import check_space, disk_errors
from partage.models.partial import sweep
from partage.models.store import Store

_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})\Z")
_LOOK_AGAIN_BYTES = 64 << 20
_BUFFER_BYTES = 1 << 20


def canonical(digest: str) -> str:
    """Raises InvalidRequest."""
    found = _DIGEST.match(digest)
    if found is None:
        raise InvalidRequest(f"{digest[:80]!r} is no digest; write sha256:<64 hex digits>", field="digest")
    return f"sha256:{found[1]}"


def find(store: Store, digest: str) -> Path | None:
    """Where the file of that digest is: sent, or part of a model. Raises InvalidRequest."""
    digest = canonical(digest)
    places = (_folder(store, digest) / "blob", store.blob_path(digest))
    return next((path for path in places if path.is_file()), None)


async def receive(store: Store, digest: str, chunks: AsyncIterable[bytes], size_bytes: int | None) -> None:
    """Keep what is sent if it is what its digest says. Raises InvalidRequest, DiskFull, StoreError."""
    digest = canonical(digest)
    folder = _folder(store, digest)
    with disk_errors(store.home):
        folder.mkdir(parents=True, exist_ok=True)
        sweep(store.partial)
        check_space(folder, {"file": size_bytes or 0})
        with _new_file(folder / "blob") as file:
            found = await _copy(chunks, file.write, folder)
            if found != digest:
                raise InvalidRequest(
                    f"what was sent has {found[:19]}..., not {digest[:19]}...; discarded", field="digest"
                )


def drop(store: Store, digest: str) -> None:
    shutil.rmtree(_folder(store, digest), ignore_errors=True)


@contextmanager
def _new_file(target: Path) -> Generator[BinaryIO]:
    """In the target's place once it is filled without an error."""
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=".new-")
    path = Path(temporary)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        path.replace(target)
    finally:
        path.unlink(missing_ok=True)


async def _copy(chunks: AsyncIterable[bytes], write: Callable[[bytes], object], folder: Path) -> str:
    sha256, written_bytes, waiting = hashlib.sha256(), 0, bytearray()

    def out(data: bytes) -> None:
        sha256.update(data)
        write(data)

    async for chunk in chunks:
        waiting += chunk
        if len(waiting) >= _BUFFER_BYTES:
            before = written_bytes // _LOOK_AGAIN_BYTES
            written_bytes += len(waiting)
            await wait_thread(out, bytes(waiting))
            waiting.clear()
            if written_bytes // _LOOK_AGAIN_BYTES > before:
                check_space(folder, {"the rest of the file": _LOOK_AGAIN_BYTES})
    await wait_thread(out, bytes(waiting))
    return f"sha256:{sha256.hexdigest()}"


def _folder(store: Store, digest: str) -> Path:
    return store.partial / f"upload-{digest.removeprefix('sha256:')}"
