"""The commands on the models of this machine: ls, show, rm."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from partage.cli.terminal import Json, console, errors, print_json, table_of
from partage.config import load_config
from partage.device.page_cache import cached_share
from partage.domain import Model
from partage.hub.load_times import LOAD_TIMES, LoadTimes
from partage.json_value import JsonObject, JsonValue
from partage.models import anatomy as facts
from partage.models.gguf_header import LongArray, read_array, read_header
from partage.models.shelves import Shelves
from partage.models.store import Manifest
from partage.quantities import format_bytes
from partage.serve.shop import shelves_of

Home: TypeAlias = Annotated[
    Path | None, typer.Option("--home", help="Where models are kept. Default: $PARTAGE_HOME, else ~/.partage.")
]
Name: TypeAlias = Annotated[str, typer.Argument(help="The model's name, as in smollm2:135m.")]


def register(app: typer.Typer) -> None:
    app.command("ls")(list_command)
    app.command("show")(show_command)
    app.command("rm")(remove_command)


def list_command(home: Home = None, as_json: Json = False) -> None:
    """List the models on this machine."""
    with errors():
        models = _shelves(home).list()
    if as_json:
        print_json([_summary(model) for model in models])
        return
    if not models:
        print("no models yet; fetch one: partage pull smollm2:135m")
        return
    table = table_of("NAME", "SIZE", "TYPE", "PARAMETERS", "CAN", "MODIFIED")
    for model in models:
        table.add_row(
            model.name,
            format_bytes(model.size_bytes),
            facts.quantisation(model.anatomy),
            facts.parameter_size(model.anatomy),
            ", ".join(sorted(model.capabilities)),
            _ago(model.modified_at),
        )
    console().print(table)


def show_command(
    name: Name,
    home: Home = None,
    as_json: Json = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Every metadata key, and with --json the vocabulary.")
    ] = False,
) -> None:
    """Show what a model is: anatomy, origin, licence, template."""
    with errors():
        shelves = _shelves(home)
        model = shelves.get(name)
        manifest = shelves.store.manifest(name) if shelves.store.exists(name) else None
        load_times = LoadTimes(shelves.store.home / LOAD_TIMES)
        if as_json:
            print_json({**_details(model, manifest, verbose=verbose), **_load_details(model, load_times)})
            return
    table = table_of("", "")
    table.show_header = False
    for row in (*_rows(model, manifest), ("load", _load_summary(model, load_times))):
        table.add_row(*row)
    if verbose:
        for key, value in model.anatomy.metadata.items():
            table.add_row(key, _shortened(value))
    terminal = console()
    terminal.print(table)
    if model.template and not verbose:
        terminal.print("\ntemplate", style="bold")
        terminal.print(model.template, markup=False, highlight=False)


def remove_command(names: Annotated[list[str], typer.Argument(help="Models to remove.")], home: Home = None) -> None:
    """Remove models. Files that another name shares stay."""
    with errors():
        shelves = _shelves(home)
        for name in names:
            shelves.remove(name)
            print(f"removed {name}")


def _shelves(home: Path | None) -> Shelves:
    return shelves_of(load_config(), home=home)


def _summary(model: Model) -> JsonObject:
    capabilities: list[JsonValue] = [*sorted(model.capabilities)]
    return {
        "name": model.name,
        "digest": model.digest,
        "size_bytes": model.size_bytes,
        "quantisation": facts.quantisation(model.anatomy),
        "parameters": facts.parameter_count(model.anatomy),
        "capabilities": capabilities,
        "modified_at": model.modified_at,
    }


def _details(model: Model, manifest: Manifest | None, *, verbose: bool) -> JsonObject:
    anatomy, made_from = model.anatomy, manifest.about.made_from if manifest else None
    details: JsonObject = {
        **_summary(model),
        "path": model.path,
        "projector_path": model.projector_path,
        "source": model.source,
        "made_from": {"digest": made_from.digest, "by": made_from.by} if made_from else None,
        "licence": model.licence,
        "architecture": anatomy.architecture,
        "layers": anatomy.layers,
        "embedding_length": anatomy.embedding_length,
        "heads": [*anatomy.heads],
        "heads_kv": [*anatomy.heads_kv],
        "key_length": anatomy.key_length,
        "value_length": anatomy.value_length,
        "context_train_tokens": anatomy.context_train_tokens,
        "vocab_tokens": anatomy.vocab_tokens,
        "weights_bytes": anatomy.weights_bytes,
        "template": model.template,
        "system": model.system,
        "options": dict(model.parameters),
        "metadata": dict(anatomy.metadata),
    }
    if verbose:
        path = Path(model.path)
        arrays = {key: value for key, value in read_header(path).metadata.items() if isinstance(value, LongArray)}
        details["arrays"] = {key: read_array(path, value) for key, value in arrays.items()}
    return details


def _rows(model: Model, manifest: Manifest | None) -> list[tuple[str, str]]:
    anatomy, made_from = model.anatomy, manifest.about.made_from if manifest else None
    heads = f"{_span(anatomy.heads)} ({_span(anatomy.heads_kv)} for keys and values), {anatomy.key_length} wide"
    return [
        ("name", model.name),
        ("can", ", ".join(sorted(model.capabilities))),
        ("architecture", anatomy.architecture),
        ("parameters", facts.parameter_size(anatomy)),
        ("weights", f"{facts.quantisation(anatomy)}, {format_bytes(anatomy.weights_bytes)}"),
        ("layers", f"{anatomy.layers}, {anatomy.embedding_length} wide, {_span(anatomy.feed_forward_length)} inside"),
        ("heads", heads),
        ("context", f"{anatomy.context_train_tokens} tokens"),
        ("vocabulary", f"{anatomy.vocab_tokens} tokens"),
        ("projector", model.projector_path or "none"),
        ("licence", model.licence or "not stated"),
        ("source", model.source or "not stated"),
        *([("made from", f"{made_from.digest[:19]} ({made_from.by})")] if made_from else []),
        ("digest", model.digest),
        ("file", f"{model.path} ({format_bytes(model.size_bytes)})"),
        ("modified", model.modified_at),
    ]


def _load_details(model: Model, load_times: LoadTimes) -> JsonObject:
    """What loads took here, and how much of the file is in the page cache now."""
    measured: JsonObject = {
        kind: {"cached_s": one.cached_s, "disk_s": one.disk_s}
        for kind, one in load_times.measured(model.digest).items()
    }
    return {"load": measured, "cached_share": cached_share(model.path)}


def _load_summary(model: Model, load_times: LoadTimes) -> str:
    share = cached_share(model.path)
    parts = [
        f"{seconds:.1f} s {where} ({kind})"
        for kind, one in load_times.measured(model.digest).items()
        for seconds, where in ((one.cached_s, "from the page cache"), (one.disk_s, "from disk"))
        if seconds is not None
    ]
    now = "" if share is None else f"; {share:.0%} is in the page cache now"
    return (", ".join(parts) or "not measured yet") + now


def _span(values: tuple[int, ...]) -> str:
    low, high = min(values, default=0), max(values, default=0)
    return str(low) if low == high else f"{low}-{high}"


def _shortened(value: JsonValue) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _ago(moment: str) -> str:
    seconds = (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"
