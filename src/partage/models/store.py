"""The models on this machine: a content-addressed store under PARTAGE_HOME.

    blobs/sha256-<hex>                           weights, written once, never changed
    models/<host>/<namespace>/<model>/<tag>.json a manifest per name: which blobs, where they came from
    partial/                                     downloads under way (models/pull.py)

A manifest is written last and removed first, each in one step, so whatever dies in between leaves whole models only.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec

from partage.domain import Model
from partage.errors import InvalidRequest, ModelFileError, ModelNotFound, PartageError, StoreError
from partage.models import anatomy, catalog, names
from partage.models.disk import disk_errors
from partage.models.facts import Extras, FactsCache, FileFacts, model_of
from partage.models.gguf_header import read_header
from partage.models.recent import Recent, look
from partage.work import Message

log = logging.getLogger("partage.models")

Digest: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^sha256:[0-9a-f]{64}\Z")]
_LARGEST_MANIFEST_BYTES = 1 << 20


class Blob(msgspec.Struct, frozen=True, kw_only=True):
    digest: Digest
    size_bytes: int


class MadeFrom(msgspec.Struct, frozen=True, kw_only=True):
    """What the weights were before Partage changed their form."""

    digest: str
    by: str
    """"requantise Q4_1 to Q8_0, gguf 0.19.0"."""


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a model beyond its bytes."""

    source: str = ""
    made_from: MadeFrom | None = None
    licence: str = ""
    template: str = ""
    """For people; empty: the one in the GGUF."""
    chat_template: str = ""
    """For the engine, Jinja; empty: the one in the GGUF."""
    system: str = ""
    parameters: dict[str, bool | int | float | str | list[str]] = {}
    """Default options (Modelfile PARAMETER)."""
    messages: tuple[tuple[str, str], ...] = ()
    """Role and content of each (Modelfile MESSAGE)."""

    def with_template(self, chat_template: str) -> About:
        return msgspec.structs.replace(self, chat_template=chat_template)

    @property
    def extras(self) -> Extras:
        return Extras(
            source=self.source,
            licence=self.licence,
            template=self.template,
            chat_template=self.chat_template,
            system=self.system,
            parameters={k: [*v] if isinstance(v, list) else v for k, v in self.parameters.items()},
            messages=tuple(Message(role=role, content=content) for role, content in self.messages),
        )


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    weights: Blob
    projector: Blob | None = None
    about: About = About()

    @property
    def digests(self) -> frozenset[str]:
        return frozenset(blob.digest for blob in (self.weights, self.projector) if blob)


class Store:
    """All methods may block for the time of a disk access, add_file for the time of a copy."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.blobs = home / "blobs"
        self.manifests = home / "models"
        self.partial = home / "partial"
        self.facts = FactsCache()
        self._recent = Recent()

    def list(self) -> list[Model]:
        """Every whole model, by name. A broken one is logged and left out. Raises StoreError."""
        models: list[Model] = []
        for path in self._manifest_paths():
            try:
                with disk_errors(self.home):
                    models.append(self._model(path, self._read(path)))
            except PartageError as error:
                log.warning("model left out: %s", error)
        return sorted(models, key=lambda model: model.name)

    def get(self, name: str) -> Model:
        """The model of that name, or of another name for the same catalog entry.

        Raises InvalidRequest (no possible name), ModelNotFound, ModelFileError (it is there, but broken), StoreError.
        """
        known = self._recent.get(name)
        if known is not None:
            return known
        manifests = look(self._candidates(name))
        with disk_errors(self.home):
            path = self._path_of(name)
            manifest = self._read(path)
            model = self._model(path, manifest)
        self._recent.keep(name, model, manifests + look(map(self.blob_path, manifest.digests)))
        return model

    def exists(self, name: str) -> bool:
        try:
            self.get(name)
        except (ModelNotFound, ModelFileError, InvalidRequest):
            return False
        return True

    def manifest(self, name: str) -> Manifest:
        """The manifest of a name. Raises as get() does."""
        return self._read(self._path_of(name))

    def add_file(
        self,
        name: str,
        path: Path,
        *,
        about: About = About(),  # noqa: B008
        projector: Path | None = None,
        move: bool = False,
    ) -> Model:
        """Take a GGUF (and its vision projector) into the store under a name, replacing what had that name.

        `move` takes the file itself when it lies on the same filesystem; otherwise it is copied.
        Raises InvalidRequest, ModelFileError, DiskFull, StoreError.
        """
        for file in filter(None, (path, projector)):
            _check_file(file)
        with disk_errors(self.home), self._locked():
            manifest = Manifest(
                name=names.canonical(name),
                weights=self._take(path, move=move),
                projector=self._take(projector, move=move) if projector else None,
                about=about,
            )
            self._write(manifest)
        return self.get(manifest.name)

    def add_blobs(self, manifest: Manifest, files: Mapping[str, Path]) -> Model:
        """Take files whose digests have been checked, on the store's own disk, and write their manifest.

        Raises ModelFileError, DiskFull, StoreError.
        """
        for digest in manifest.digests:
            _check_file(files.get(digest) or self.blob_path(digest))
        with disk_errors(self.home), self._locked():
            self.blobs.mkdir(parents=True, exist_ok=True)
            for digest, file in files.items():
                file.replace(self.blob_path(digest))
            self._write(manifest)
        return self.get(manifest.name)

    def take(self, path: Path, *, move: bool = False) -> Blob:
        """Bring a file among the blobs; a manifest is to follow. Raises ModelFileError, DiskFull, StoreError."""
        _check_file(path)
        with disk_errors(self.home), self._locked():
            return self._take(path, move=move)

    def has_blob(self, digest: str, size_bytes: int | None = None) -> bool:
        path = self.blob_path(digest)
        return path.is_file() and size_bytes in {None, path.stat().st_size}

    def link(self, name: str, to: str) -> Model:
        """Give a model that is here one more name. Raises ModelNotFound, InvalidRequest, DiskFull, StoreError."""
        with disk_errors(self.home), self._locked():
            self._write(msgspec.structs.replace(self.manifest(to), name=names.canonical(name)))
        return self.get(name)

    def remove(self, name: str) -> None:
        """Forget a name, and drop the blobs that no other name shares. Raises InvalidRequest, ModelNotFound, StoreError."""
        path = self._path_of(name)
        with disk_errors(self.home), self._locked():
            try:
                orphans = set(self._read(path).digests)
            except ModelFileError as error:  # a broken manifest can be removed too
                log.warning("removing %s: %s", name, error)
                orphans = set[str]()
            path.unlink(missing_ok=True)
            for other in self._manifest_paths():
                try:
                    orphans -= self._read(other).digests
                except ModelFileError as error:
                    log.warning("keeping all blobs, for this may share one: %s", error)
                    return
            for digest in orphans:
                self.blob_path(digest).unlink(missing_ok=True)
            for folder in path.parents[:3]:
                with contextlib.suppress(OSError):  # another name lives there
                    folder.rmdir()

    def _path_of(self, name: str) -> Path:
        for path in self._candidates(name):
            if path.is_file():
                return path
        raise ModelNotFound(names.canonical(name))

    def _candidates(self, name: str) -> list[Path]:
        """Where its manifest may lie, the first that is there counts."""
        return [self.manifests / names.parse(each).path for each in catalog.same_as(names.canonical(name))]

    def _manifest_paths(self) -> list[Path]:
        try:
            # Path.rglob passes silently over what it may not read.
            walk = os.walk(self.manifests, onerror=_raise_unless_gone)
            return [Path(folder, file) for folder, _, files in walk for file in files if file.endswith(".json")]
        except OSError as error:
            raise StoreError(f"the model directory {self.manifests} cannot be read: {error.strerror}") from error

    def _read(self, path: Path) -> Manifest:
        try:
            with path.open("rb") as file:
                manifest = msgspec.json.decode(file.read(_LARGEST_MANIFEST_BYTES), type=Manifest)
            if self.manifests / names.parse(manifest.name).path != path:
                raise ModelFileError(f"{path}: the manifest of another name, {manifest.name!r}")
        except OSError as error:
            raise ModelFileError(f"{path}: {error.strerror}") from error
        except (msgspec.MsgspecError, UnicodeDecodeError, InvalidRequest) as error:
            raise ModelFileError(f"{path}: not a manifest: {error}") from error
        return manifest

    def _model(self, path: Path, manifest: Manifest) -> Model:
        weights, projector = manifest.weights, manifest.projector
        return model_of(
            manifest.name,
            digest=weights.digest,
            weights=self._file(weights),
            projector=self._file(projector) if projector else None,
            extras=manifest.about.extras,
            modified_s=path.stat().st_mtime,
        )

    def _file(self, blob: Blob) -> tuple[Path, FileFacts]:
        path = self.blob_path(blob.digest)
        return path, self.facts.read(path, expected_bytes=blob.size_bytes)

    def blob_path(self, digest: str) -> Path:
        return self.blobs / digest.replace(":", "-")

    def _take(self, path: Path, *, move: bool) -> Blob:
        with path.open("rb") as file:
            digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
            os.fsync(file.fileno())
        target = self.blob_path(digest)
        size_bytes = path.stat().st_size
        if target.exists() and target.stat().st_size == size_bytes:
            return Blob(digest=digest, size_bytes=size_bytes)
        self.blobs.mkdir(parents=True, exist_ok=True)
        if move and path.stat().st_dev == self.blobs.stat().st_dev:
            path.rename(target)
        else:
            with _written_whole(target) as temporary:
                shutil.copyfile(path, temporary)
        return Blob(digest=digest, size_bytes=size_bytes)

    def _write(self, manifest: Manifest) -> None:
        path = self.manifests / names.parse(manifest.name).path
        path.parent.mkdir(parents=True, exist_ok=True)
        with _written_whole(path) as temporary:
            temporary.write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))

    @contextlib.contextmanager
    def _locked(self) -> Generator[None]:
        """One change at a time, across processes."""
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _check_file(path: Path) -> None:
    """A file we cannot read never becomes a model."""
    header = read_header(path)
    if (parts := header.metadata.get("split.count", 1)) not in {0, 1}:
        raise ModelFileError(
            f"{path}: one of {parts} parts of a split model; join them (llama-gguf-split --merge), or put all of them into "
            "a directory named as models_dir in partage.yaml"
        )
    anatomy.anatomy(header)


@contextlib.contextmanager
def _written_whole(target: Path) -> Generator[Path]:
    """Give a file to fill beside the target; put it in the target's place, on the disk, once it is whole."""
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=".new-")
    os.close(descriptor)
    path = Path(temporary)
    try:
        yield path
        with path.open("rb") as file:
            os.fsync(file.fileno())
        path.replace(target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        path.unlink(missing_ok=True)


def _raise_unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
