"""Fetches a model from an Ollama registry: manifest, blobs, and the small layers that say how it is used."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import ExitStack, aclosing
from functools import partial

from partage.errors import NotFound
from partage.models import blobs, oci, templates
from partage.models.alongside import wait_thread
from partage.models.names import Name
from partage.models.progress import PullProgress
from partage.models.reach import Reach
from partage.models.registry import Registry, open_registry
from partage.models.store import About, Blob, Manifest, Store


async def pull_from_registry(store: Store, name: Name, reach: Reach) -> AsyncGenerator[PullProgress, None]:
    """Raises NotFound, PullError (and its kinds), Unsupported, ModelFileError, StoreError."""
    yield PullProgress("pulling manifest")
    async with open_registry(name, reach) as registry:
        what = f"{registry}:{name.tag}"
        try:
            manifest = oci.read_manifest(await registry.manifest(name.tag), what)
        except NotFound as error:
            raise NotFound(f"there is no model {what} ({error.message})") from error
        parts = oci.parts_of(manifest, what)
        oci.check_config(await registry.text(manifest.config), what)
        texts = [(layer.media_type, await registry.text(layer)) for layer in parts.texts]
        about = oci.about_of(texts, source=what)
        wanted = [wanted_from(registry, layer) for layer in (parts.weights, parts.projector) if layer]
        async with aclosing(take(store, str(name), wanted, about, streams=reach.streams)) as steps:
            async for step in steps:
                yield step


def wanted_from(registry: Registry, layer: oci.Layer) -> blobs.Wanted:
    ask = partial(registry.exchange, "GET", registry.url("blobs", layer.digest))
    return blobs.Wanted(layer.digest, layer.size, lambda headers: ask(headers=headers))


async def take(
    store: Store, name: str, wanted: list[blobs.Wanted], about: About, *, streams: int
) -> AsyncGenerator[PullProgress, None]:
    """Fetch weights and, if there are two, their projector, and give them a name."""
    with ExitStack() as held:
        async with aclosing(blobs.fetch(store, wanted, held, streams=streams)) as steps:
            async for step in steps:
                yield step
        yield PullProgress("writing manifest")
        await wait_thread(_keep, store, name, wanted, about)


def _keep(store: Store, name: str, wanted: list[blobs.Wanted], about: About) -> None:
    weights, projector = [*(Blob(digest=one.digest, size_bytes=one.size_bytes) for one in wanted), None][:2]
    assert weights is not None
    files = blobs.fetched(store, wanted)
    own = store.facts.read(files.get(weights.digest) or store.blob_path(weights.digest)).template
    about = about.with_template(templates.engine_template(about.template, own))
    store.add_blobs(Manifest(name=name, weights=weights, projector=projector, about=about), files)
    blobs.clean_up(store, wanted)
