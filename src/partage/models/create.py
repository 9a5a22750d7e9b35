"""Makes a model of another one or of GGUF files: with parameters, system prompt, template or quantisation of its own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncGenerator
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from partage.domain import Model
from partage.errors import InvalidRequest, ModelFileError, NotFound, Unsupported
from partage.models import anatomy as facts
from partage.models import names, templates, uploads
from partage.models import quantise as quantising
from partage.models.alongside import wait_thread
from partage.models.disk import check_space, disk_errors
from partage.models.facts import FactsCache, FileFacts
from partage.models.modelfile import Modelfile, Parameter
from partage.models.progress import PullProgress
from partage.models.shelves import Shelves
from partage.models.store import About, Blob, MadeFrom, Manifest, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a model is made of. None: as the base has it."""

    base: str = ""
    """A model; or else the files."""
    digests: tuple[str, ...] = ()
    """Of files that were sent, or are part of models: weights, and perhaps their projector."""
    paths: tuple[Path, ...] = ()
    parameters: dict[str, Parameter] = field(default_factory=dict[str, Parameter])
    system: str | None = None
    template: str | None = None
    licence: str | None = None
    messages: tuple[tuple[str, str], ...] | None = None
    quantise: str = ""


@dataclass(frozen=True, slots=True)
class _Part:
    """One file, and what is known of it."""

    path: Path
    facts: FileFacts
    digest: str = ""
    """Empty: it has to be read, and copied unless it is `ours`."""
    ours: bool = False


@dataclass(frozen=True, slots=True)
class _Base:
    weights: _Part
    projector: _Part | None
    about: About


def recipe_of(modelfile: Modelfile, folder: Path | None, *, quantise: str = "") -> Recipe:
    """`folder`: where relative paths begin; None: no file of this machine is read. Raises InvalidRequest."""
    recipe = Recipe(
        parameters=modelfile.parameters,
        system=modelfile.system,
        template=modelfile.template,
        licence=modelfile.licence,
        messages=modelfile.messages,
        quantise=quantise,
    )
    for base in modelfile.bases:
        if base.startswith(("@", "sha256:")):
            recipe = replace(recipe, digests=(*recipe.digests, base.removeprefix("@")))
        elif folder is not None and (folder / base).expanduser().exists():
            recipe = replace(recipe, paths=(*recipe.paths, (folder / base).expanduser()))
        elif base.startswith(("/", ".", "~")) or base.lower().endswith(".gguf"):
            why = "there is no such file" if folder else "send the file to POST /api/blobs/DIGEST, then FROM @DIGEST"
            raise InvalidRequest(f"FROM {base}: {why}")
        elif recipe.base:
            raise InvalidRequest(f"FROM {base}: one model is the base already, {recipe.base}")
        else:
            recipe = replace(recipe, base=base)
    return recipe


async def create(shelves: Shelves, name: str, recipe: Recipe) -> AsyncGenerator[PullProgress, None]:
    """The end of the generator is success.

    Raises InvalidRequest, ModelNotFound, NotFound, Unsupported, ModelFileError, DiskFull, StoreError.
    """
    name = names.canonical(name)
    store = shelves.store
    yield PullProgress("reading the model")
    base = await wait_thread(_base, shelves, recipe)
    about = _about(base, recipe)
    if recipe.template is not None and not about.chat_template:
        yield PullProgress("the template has no equal in Jinja: it is kept to be shown, and the model's own is used")
    with disk_errors(store.home), ExitStack() as held:
        weights = base.weights
        if recipe.quantise:
            to = quantising.check_type(weights.facts.anatomy, recipe.quantise)
            store.partial.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=store.partial, prefix="create-"))
            held.callback(shutil.rmtree, folder, ignore_errors=True)
            target = folder / "quantised.gguf"
            async with aclosing(quantising.quantise(weights.path, weights.facts.anatomy, target, to)) as steps:
                async for step in steps:
                    yield step
            was = facts.quantisation(weights.facts.anatomy)
            about = msgspec.structs.replace(
                about, made_from=MadeFrom(digest=weights.digest or str(weights.path), by=f"{was} quantised to {to}")
            )
            weights = _Part(target, weights.facts, ours=True)
        for part in filter(None, (weights, base.projector)):
            yield PullProgress(f"using {part.digest[7:19]}" if part.digest else f"reading {part.path.name}")
        yield PullProgress("writing manifest")
        await wait_thread(_keep, store, name, weights, base.projector, about)


def _base(shelves: Shelves, recipe: Recipe) -> _Base:
    if recipe.base and not recipe.digests and not recipe.paths:
        return _of_model(shelves, shelves.get(recipe.base))
    if recipe.base or not (recipe.digests or recipe.paths):
        raise InvalidRequest("name a model or files to make it of, and not both", field="from")
    cache = FactsCache()
    parts = [_Part(path, cache.read(path)) for path in recipe.paths]
    for digest in map(uploads.canonical, recipe.digests):
        path = uploads.find(shelves.store, digest)
        if path is None:
            raise NotFound(f"there is no blob {digest}; send it to POST /api/blobs/{digest} first")
        parts.append(_Part(path, cache.read(path), digest, ours=True))
    projectors = [part for part in parts if part.facts.anatomy.architecture == "clip"]
    weights = [part for part in parts if part.facts.anatomy.architecture != "clip"]
    if len(weights) != 1 or len(projectors) > 1:
        raise ModelFileError(
            f"{len(weights)} files of weights and {len(projectors)} projectors; 1 and at most 1 make a model"
        )
    return _Base(weights[0], projectors[0] if projectors else None, About())


def _of_model(shelves: Shelves, model: Model) -> _Base:
    cache, store = FactsCache(), shelves.store
    manifest = store.manifest(model.name) if store.exists(model.name) else None
    ours = manifest is not None
    about = manifest.about if manifest else _about_of(model)

    def part(path: str, digest: str) -> _Part:
        return _Part(Path(path), cache.read(Path(path)), digest if ours else "", ours=ours)

    projector = manifest.projector if manifest else None
    return _Base(
        part(model.path, model.digest),
        part(model.projector_path, projector.digest if projector else "") if model.projector_path else None,
        msgspec.structs.replace(about, source=about.source or f"made from {model.name}"),
    )


def _about_of(model: Model) -> About:
    """For a model in somebody else's directory."""
    return About(
        source=model.source,
        licence=model.licence,
        template=model.template if model.chat_template else "",
        chat_template=model.chat_template,
        system=model.system,
        parameters=msgspec.convert(dict(model.parameters), dict[str, bool | int | float | str | list[str]]),
        messages=tuple((message.role, message.content) for message in model.messages),
    )


def _about(base: _Base, recipe: Recipe) -> About:
    """Raises Unsupported for a template that cannot be used where the file has none of its own."""
    about = base.about
    changes: dict[str, object] = {
        "system": recipe.system,
        "licence": recipe.licence,
        "messages": recipe.messages,
        "parameters": {**about.parameters, **recipe.parameters},
    }
    if recipe.template is not None:
        jinja = templates.jinja_of(recipe.template)
        if jinja is None and not base.weights.facts.template:
            raise Unsupported("the template has no equal in Jinja, and the file has none of its own; write it in Jinja")
        changes |= {"template": recipe.template, "chat_template": jinja or ""}
    return msgspec.structs.replace(about, **{key: value for key, value in changes.items() if value is not None})


def _keep(store: Store, name: str, weights: _Part, projector: _Part | None, about: About) -> None:
    files: dict[str, Path] = {}

    def blob(part: _Part) -> Blob:
        if not part.digest:
            if not part.ours:
                check_space(store.home, {part.path.name: part.facts.size_bytes})
            return store.take(part.path, move=part.ours)
        if not store.has_blob(part.digest):
            files[part.digest] = part.path
        return Blob(digest=part.digest, size_bytes=part.path.stat().st_size)

    kept = Manifest(name=name, weights=blob(weights), projector=blob(projector) if projector else None, about=about)
    store.add_blobs(kept, files)
    for digest in files:
        uploads.drop(store, digest)
