"""The quantisations in which one model can be had, and what each would weigh: from tags, file lists and one header."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from partage.domain import Anatomy
from partage.errors import ModelFileError, NotFound, PullError
from partage.models import anatomy as facts
from partage.models import blobs, catalog, hugging_face, oci
from partage.models.alongside import wait_thread
from partage.models.gguf_dir import QUANTISATION
from partage.models.gguf_header import read_header
from partage.models.names import Name
from partage.models.pull_registry import wanted_from
from partage.models.reach import Reach
from partage.models.registry import Registry, no_registry, open_registry, read_bounded

_MOST_TAGS = 100
_HEADERS_BYTES = (4 << 20, 16 << 20, 64 << 20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One way to have a model."""

    name: str
    quantisation: str
    size_bytes: int
    anatomy: Anatomy | None
    """None: nobody can say before it is fetched."""


async def variants_of(name: Name, reach: Reach) -> list[Variant]:
    """The largest first. Raises NotFound, PullError."""
    if name.host and hugging_face.is_on_the_hub(name):
        found = await _on_the_hub(name, reach)
    elif not name.host and catalog.knows(str(name)):
        found = _in_the_catalog(str(name))
    elif name.host or reach.registry:
        async with open_registry(name, reach) as registry:
            found = await _in_a_registry(registry, name)
    else:
        raise PullError(f"{catalog.nobody_has(str(name))}; {no_registry(name)}")
    return sorted(found, key=lambda variant: -variant.size_bytes)


def _in_the_catalog(name: str) -> list[Variant]:
    asked = catalog.find(name)
    return [
        Variant(
            name=entry.names[0],
            quantisation=catalog.quantisation(entry),
            size_bytes=entry.result_bytes,
            anatomy=None,
        )
        for entry in catalog.ENTRIES
        if entry.family == asked.family
    ]


async def _in_a_registry(registry: Registry, name: Name) -> list[Variant]:
    asked = await _weights(registry, name.tag)
    anatomy = await _anatomy(wanted_from(registry, asked))
    try:
        tags = (await registry.tags())[:_MOST_TAGS]
    except NotFound as error:
        raise PullError(f"{registry} does not list its tags; pull the variant you want by its full name") from error
    typed = {tag: found for tag in tags if (found := _base_and_type(tag))}
    layers = {tag: await _weights(registry, tag) for tag in typed}
    # "latest" and "3b" stand for "3b-instruct-q4_K_M": their weights are the same, and "3b-text-q8_0" is another model.
    bases = {typed[tag][0] for tag in typed if tag == name.tag or layers[tag].digest == asked.digest}
    alike = {tag: layer for tag, layer in layers.items() if typed[tag][0] in (bases or {name.tag})}
    if asked.digest not in {layer.digest for layer in alike.values()}:
        alike[name.tag] = asked
    return [
        Variant(
            name=str(replace(name, tag=tag)),
            quantisation=typed[tag][1] if tag in typed else facts.quantisation(anatomy),
            size_bytes=layer.size,
            anatomy=_scaled(anatomy, layer.size),
        )
        for tag, layer in alike.items()
    ]


def _base_and_type(tag: str) -> tuple[str, str] | None:
    """What "3b-instruct-q4_K_M" is made of, or "q4_K_M" alone."""
    found = QUANTISATION.search(f"-{tag}")
    return (tag[: max(0, found.start() - 1)], found[1].upper()) if found else None


async def _weights(registry: Registry, tag: str) -> oci.Layer:
    what = f"{registry}:{tag}"
    return oci.parts_of(oci.read_manifest(await registry.manifest(tag), what), what).weights


async def _on_the_hub(name: Name, reach: Reach) -> list[Variant]:
    async with hugging_face.open_server(name, reach) as (endpoint, server):
        repository = await hugging_face.look_up(server, endpoint)
        files = hugging_face.whole_weights(repository.files)
        if not files:
            raise NotFound(f"{name}: the repository holds no whole GGUF weights")
        smallest = min(files, key=lambda file: file.size_bytes)
        anatomy = await _anatomy(hugging_face.wanted_from(server, endpoint, repository, smallest))
    return [
        Variant(
            name=str(replace(name, tag=file.quantisation)),
            quantisation=file.quantisation,
            size_bytes=file.size_bytes,
            anatomy=_scaled(anatomy, file.size_bytes),
        )
        for file in files
        if file.quantisation
    ]


async def _anatomy(wanted: blobs.Wanted) -> Anatomy:
    """Read the header off the beginning of the file. Raises PullError, ModelFileError."""
    for window_bytes in _HEADERS_BYTES:
        count = min(window_bytes, wanted.size_bytes)
        async with wanted.open({"Range": f"bytes=0-{count - 1}"}) as response:
            if response.status != 206 and count < wanted.size_bytes:
                raise PullError(f"{response.url.host} knows no ranges: the header cannot be read without the weights")
            data = await read_bounded(response, window_bytes)
        try:
            return await wait_thread(_read, data, wanted.size_bytes)
        except ModelFileError:
            if count == wanted.size_bytes or window_bytes == _HEADERS_BYTES[-1]:
                raise
    raise AssertionError


def _read(data: bytes, size_bytes: int) -> Anatomy:
    with tempfile.NamedTemporaryFile(suffix=".gguf") as file:
        file.write(data)
        file.truncate(size_bytes)  # sparse: the header's promises are checked against the length
        file.flush()
        return facts.anatomy(read_header(Path(file.name)))


def _scaled(anatomy: Anatomy, size_bytes: int) -> Anatomy:
    """The same model in another type: every tensor by the same factor, which is right to a few per cent."""
    factor = size_bytes / max(1, anatomy.weights_bytes)
    tensors = tuple(replace(tensor, size_bytes=int(tensor.size_bytes * factor)) for tensor in anatomy.tensors)
    return replace(anatomy, tensors=tensors)
