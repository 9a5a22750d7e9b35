"""Sends a model of the store to an Ollama registry: blobs it lacks, then the manifest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import msgspec
from yarl import URL

from partage.domain import Model
from partage.errors import PullError
from partage.models import anatomy, names, oci
from partage.models.progress import PullProgress
from partage.models.reach import ANYWHERE, Reach
from partage.models.registry import Registry, digest_of, open_registry
from partage.models.store import Blob, Store

PIECE_BYTES = 8 << 20


async def push(store: Store, name: str, reach: Reach = ANYWHERE) -> AsyncGenerator[PullProgress, None]:
    """Send a model to the registry in its name, else to the configured one. The end of the generator is success.

    Raises InvalidRequest, ModelNotFound, PullError, StoreError.
    """
    parsed = names.parse(name)
    yield PullProgress("retrieving manifest")
    model, manifest = store.get(name), store.manifest(name)
    texts = oci.texts_of(manifest.about)
    layers = [
        oci.Layer(media_type=oci.MODEL, digest=manifest.weights.digest, size=manifest.weights.size_bytes),
        *([_projector(manifest.projector)] if manifest.projector else []),
        *(oci.Layer(media_type=kind, digest=digest_of(text), size=len(text)) for kind, text in texts),
    ]
    about = _config(model, layers)
    config = oci.Layer(media_type=oci.CONFIG, digest=digest_of(about), size=len(about))
    small = {digest_of(data): data for data in (about, *(text for _, text in texts))}
    async with open_registry(parsed, reach) as registry:
        for layer in (*layers, config):
            content = small.get(layer.digest) or store.blob_path(layer.digest)
            async with aclosing(_send(registry, layer, content)) as steps:
                async for step in steps:
                    yield step
        yield PullProgress("pushing manifest")
        data = msgspec.json.encode(oci.RemoteManifest(config=config, layers=tuple(layers)))
        headers = {"Content-Type": oci.MANIFEST}
        async with registry.exchange("PUT", registry.url("manifests", parsed.tag), headers=headers, data=data):
            pass


def _projector(blob: Blob) -> oci.Layer:
    return oci.Layer(media_type=oci.PROJECTOR, digest=blob.digest, size=blob.size_bytes)


def _config(model: Model, layers: list[oci.Layer]) -> bytes:
    """What Ollama keeps beside the layers, for lists that need not open the weights."""
    families = [model.anatomy.architecture, *([model.projector.architecture] if model.projector else [])]
    return msgspec.json.encode(
        {
            "model_format": "gguf",
            "model_family": families[0],
            "model_families": families,
            "model_type": anatomy.parameter_size(model.anatomy),
            "file_type": anatomy.quantisation(model.anatomy),
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
        }
    )


async def _send(registry: Registry, layer: oci.Layer, content: bytes | Path) -> AsyncGenerator[PullProgress, None]:
    def progress(sent_bytes: int) -> PullProgress:
        return PullProgress(f"pushing {layer.digest[7:19]}", layer.digest, layer.size, sent_bytes)

    yield progress(0)
    if not await registry.has_blob(layer.digest):
        async with registry.exchange("POST", registry.url("blobs", "uploads", "")) as response:
            place = _place(registry, response.url, response.headers.get("Location", ""))
        sent = 0
        while sent < layer.size:
            piece = await asyncio.to_thread(_piece, content, sent)
            headers = {
                "Content-Type": "application/octet-stream",
                "Content-Range": f"{sent}-{sent + len(piece) - 1}",
            }
            async with registry.exchange("PATCH", place, headers=headers, data=piece) as response:
                place = _place(registry, response.url, response.headers.get("Location", ""))
            sent += len(piece)
            yield progress(sent)
        async with registry.exchange("PUT", place.update_query(digest=layer.digest), data=b""):
            pass
    yield progress(layer.size)


def _piece(content: bytes | Path, start: int) -> bytes:
    if isinstance(content, bytes):
        return content[start : start + PIECE_BYTES]
    with content.open("rb") as file:
        file.seek(start)
        if not (piece := file.read(PIECE_BYTES)):
            raise PullError(f"{content} became shorter while it was sent")
        return piece


def _place(registry: Registry, asked: URL, location: str) -> URL:
    """Where the next piece goes, as the registry says. Raises PullError."""
    if not location:
        raise PullError(f"{registry.base.authority} does not say where a blob is to be sent")
    return registry.redirected(asked, location)
