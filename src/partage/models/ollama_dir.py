"""An existing Ollama model directory, read in place: nothing is copied, and nothing there is ever changed.

manifests/<host>/<namespace>/<model>/<tag>   as the registry served it
blobs/sha256-<hex>                           its layers
"""

from __future__ import annotations

import logging
from pathlib import Path

from partage.domain import Model
from partage.errors import InvalidRequest, ModelFileError, PartageError
from partage.models import names, oci, templates
from partage.models.facts import FactsCache, FileFacts, model_of
from partage.models.names import DEFAULT_NAMESPACE, Name

log = logging.getLogger("partage.models")

_LARGEST_MANIFEST_BYTES = 1 << 20


class OllamaDirectory:
    def __init__(self, path: Path, default_host: str = "") -> None:
        """`default_host`: whose models are called without their host; also every host that has a "library"."""
        self._path = path
        self._default_host = default_host
        self._facts = FactsCache()
        self._known: dict[Path, tuple[int, Model]] = {}
        self._said: set[str] = set()

    def __str__(self) -> str:
        return f"the Ollama directory {self._path}"

    def list(self) -> list[Model]:
        models: list[Model] = []
        hosts = self._default_hosts()
        try:
            manifests = sorted((self._path / "manifests").glob("*/*/*/*"))
        except OSError as error:
            self._say(f"{self} cannot be read: {error.strerror}")
            return []
        for path in manifests:
            try:
                name = self._name(path, hosts)
                if path.is_file():
                    models.append(self._model(path, name))
            except PartageError as error:
                self._say(f"{path} left out: {error.message}")
        return models

    def find(self, name: Name) -> Model | None:
        for host in (name.host,) if name.host else self._default_hosts():
            path = self._path / "manifests" / host / name.namespace / name.model / name.tag
            try:
                if path.is_file():
                    return self._model(path, name)
            except OSError as error:
                raise ModelFileError(f"{path}: {error.strerror}") from error
        return None

    def _default_hosts(self) -> list[str]:
        try:
            found = sorted(path.parent.name for path in (self._path / "manifests").glob(f"*/{DEFAULT_NAMESPACE}"))
        except OSError:
            found = []
        return [self._default_host, *found] if self._default_host else found

    def _name(self, path: Path, default_hosts: list[str]) -> Name:
        host, namespace, model, tag = path.parts[-4:]
        full = names.parse(f"{host}/{namespace}/{model}:{tag}")
        return names.parse(f"{namespace}/{model}:{tag}") if host in default_hosts else full

    def _model(self, path: Path, name: Name) -> Model:
        """Raises ModelFileError, Unsupported, PullError."""
        try:
            changed_ns = path.stat().st_mtime_ns
            known = self._known.get(path)
            if known is None or known[0] != changed_ns or known[1].name != str(name):
                with path.open("rb") as file:
                    manifest = oci.read_manifest(file.read(_LARGEST_MANIFEST_BYTES), str(path))
                known = (changed_ns, self._read(manifest, str(name), changed_ns / 1e9))
                self._known[path] = known
        except (OSError, InvalidRequest) as error:
            raise ModelFileError(f"{path}: {error}") from error
        for file in filter(None, (known[1].path, known[1].projector_path)):
            self._facts.read(Path(file))  # it may have been removed since
        return known[1]

    def _read(self, manifest: oci.RemoteManifest, name: str, modified_s: float) -> Model:
        parts = oci.parts_of(manifest, name)
        oci.check_config(self._text(manifest.config), name)
        texts = [(layer.media_type, self._text(layer)) for layer in parts.texts]
        weights = self._file(parts.weights)
        about = oci.about_of(texts, source=str(self))
        return model_of(
            name,
            digest=parts.weights.digest,
            weights=weights,
            projector=self._file(parts.projector) if parts.projector else None,
            extras=about.with_template(templates.engine_template(about.template, weights[1].template)).extras,
            modified_s=modified_s,
        )

    def _file(self, layer: oci.Layer) -> tuple[Path, FileFacts]:
        path = self._blob(layer)
        return path, self._facts.read(path, expected_bytes=layer.size)

    def _text(self, layer: oci.Layer) -> bytes:
        with self._blob(layer).open("rb") as file:
            return file.read(oci.LARGEST_TEXT_BYTES)

    def _blob(self, layer: oci.Layer) -> Path:
        return self._path / "blobs" / layer.digest.replace(":", "-")

    def _say(self, message: str) -> None:
        """Once: lists are made often."""
        if message not in self._said:
            self._said.add(message)
            log.warning("%s", message)
