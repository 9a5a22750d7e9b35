"""Manifests as Ollama registries keep them: which layers a model consists of, and what each is for. Bytes in, types out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

import msgspec

from partage.errors import PullError, Unsupported
from partage.models.store import About, Digest

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
_PREFIX = "application/vnd.ollama.image."
MODEL, PROJECTOR, ADAPTER = f"{_PREFIX}model", f"{_PREFIX}projector", f"{_PREFIX}adapter"
TEMPLATE, SYSTEM, PROMPT = f"{_PREFIX}template", f"{_PREFIX}system", f"{_PREFIX}prompt"
PARAMETERS, LICENCE, MESSAGES = f"{_PREFIX}params", f"{_PREFIX}license", f"{_PREFIX}messages"
TEXTS = frozenset({TEMPLATE, SYSTEM, PROMPT, PARAMETERS, LICENCE, MESSAGES})

LARGEST_TEXT_BYTES = 4 << 20
_MOST_LAYERS = 64

T = TypeVar("T")


class Layer(msgspec.Struct, frozen=True, kw_only=True, rename={"media_type": "mediaType"}):
    media_type: str
    digest: Digest
    size: Annotated[int, msgspec.Meta(ge=0, le=1 << 50)]


class RemoteManifest(
    msgspec.Struct, frozen=True, kw_only=True, rename={"schema_version": "schemaVersion", "media_type": "mediaType"}
):
    schema_version: int = 2
    media_type: str = MANIFEST
    config: Layer
    layers: tuple[Layer, ...]


class ModelConfig(msgspec.Struct, frozen=True):
    """The config blob; only what decides whether we can use the model."""

    model_format: str = "gguf"
    remote_host: str = ""


@dataclass(frozen=True, slots=True)
class Parts:
    """The layers by use."""

    weights: Layer
    projector: Layer | None
    texts: tuple[Layer, ...]


class _RemoteMessage(msgspec.Struct, frozen=True):
    role: str
    content: str = ""


def read_manifest(data: bytes, what: str) -> RemoteManifest:
    """Raises PullError."""
    manifest = _decoded(data, RemoteManifest, f"{what}: not a model's manifest")
    if len(manifest.layers) > _MOST_LAYERS:
        raise PullError(f"{what}: a manifest of {len(manifest.layers)} layers; a model has at most {_MOST_LAYERS}")
    return manifest


def check_config(data: bytes, what: str) -> None:
    """Raises Unsupported, PullError."""
    config = _decoded(data, ModelConfig, f"{what}: not a model's configuration")
    if config.remote_host:
        raise Unsupported(f"{what} runs on its maker's servers, not here: there is nothing to fetch")
    if config.model_format not in {"", "gguf"}:
        raise Unsupported(f"{what} is stored as {config.model_format[:20]!r}; only GGUF can be served")


def parts_of(manifest: RemoteManifest, what: str) -> Parts:
    """Raises Unsupported for what cannot be served, PullError for what is no model."""
    by_type: dict[str, list[Layer]] = {}
    for layer in manifest.layers:
        by_type.setdefault(layer.media_type, []).append(layer)
    if ADAPTER in by_type:
        raise Unsupported(f"{what} has an adapter (LoRA) layer, which is not supported; use a model it is merged into")
    if MODEL not in by_type:
        kinds = ", ".join(sorted(by_type)) or "no layers"
        raise PullError(f"{what} has no model layer ({kinds[:200]}): it is not a model, or not one in GGUF")
    if len(by_type[MODEL]) > 1 or len(by_type.get(PROJECTOR, ())) > 1:
        raise Unsupported(f"{what} is split over several files; only whole GGUF files can be taken from a registry")
    texts = tuple(layer for layer in manifest.layers if layer.media_type in TEXTS)
    for layer in texts:
        if layer.size > LARGEST_TEXT_BYTES:
            raise PullError(f"{what}: a layer of {layer.size} bytes where a text is expected")
    return Parts(by_type[MODEL][0], by_type.get(PROJECTOR, [None])[0], texts)


def about_of(texts: Sequence[tuple[str, bytes]], *, source: str) -> About:
    """What the small layers say, by media type. Raises PullError."""
    about = About(source=source)
    for kind, data in texts:
        match kind:
            case value if value == PARAMETERS:
                parameters = _decoded(data, dict[str, bool | int | float | str | list[str]], f"{source}: parameters")
                about = msgspec.structs.replace(about, parameters=parameters)
            case value if value == MESSAGES:
                messages = _decoded(data, list[_RemoteMessage], f"{source}: messages")
                about = msgspec.structs.replace(about, messages=tuple((one.role, one.content) for one in messages))
            case value if value == LICENCE:
                licence = "\n\n".join(filter(None, (about.licence, _text(data))))
                about = msgspec.structs.replace(about, licence=licence)
            case value if value == SYSTEM:
                about = msgspec.structs.replace(about, system=_text(data))
            case _:
                about = msgspec.structs.replace(about, template=_text(data))
    return about


def texts_of(about: About) -> list[tuple[str, bytes]]:
    """The small layers that say the same; the other way round than about_of()."""
    messages = [{"role": role, "content": content} for role, content in about.messages]
    texts = [
        (TEMPLATE, about.template.encode()),
        (SYSTEM, about.system.encode()),
        (PARAMETERS, msgspec.json.encode(about.parameters) if about.parameters else b""),
        (MESSAGES, msgspec.json.encode(messages) if messages else b""),
        (LICENCE, about.licence.encode()),
    ]
    return [(kind, data) for kind, data in texts if data]


def _text(data: bytes) -> str:
    return data.decode(errors="replace").strip("\0")


def _decoded(data: bytes, kind: type[T], what: str) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PullError(f"{what}: {error}") from error
