"""What is kept of a GGUF header once read: a file is read again only after it changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from partage.domain import Anatomy, Model
from partage.errors import ModelFileError
from partage.json_value import JsonValue
from partage.models import anatomy as meaning
from partage.models.gguf_header import read_header
from partage.work import Message

_MOST_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class FileFacts:
    anatomy: Anatomy
    template: str
    licence: str
    size_bytes: int
    modified_s: float


class FactsCache:
    """Shared by everything that lists models of one kind of place."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, int], FileFacts] = {}

    def read(self, path: Path, *, expected_bytes: int | None = None) -> FileFacts:
        """Raises ModelFileError."""
        try:
            stat = path.stat()
        except OSError as error:
            raise ModelFileError(f"{path}: {error.strerror}") from error
        if expected_bytes is not None and stat.st_size != expected_bytes:
            raise ModelFileError(f"{path}: {stat.st_size} bytes where {expected_bytes} were stored")
        key = (str(path), stat.st_mtime_ns, stat.st_size)
        if key not in self._known:
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            header = read_header(path)
            try:
                self._known[key] = FileFacts(
                    anatomy=meaning.anatomy(header),
                    template=meaning.chat_template(header),
                    licence=header.text("general.license"),
                    size_bytes=stat.st_size,
                    modified_s=stat.st_mtime,
                )
            except ModelFileError as error:
                raise ModelFileError(f"{path}: {error.message}") from error
        return self._known[key]


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """What somebody added to a file to make a model of it; empty where the file's own is used."""

    source: str = ""
    licence: str = ""
    template: str = ""
    """For people: Ollama's Go template, where the model came with one."""
    chat_template: str = ""
    """For the engine: Jinja in place of the file's (models/templates.py)."""
    system: str = ""
    parameters: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    messages: tuple[Message, ...] = ()


def model_of(
    name: str,
    *,
    digest: str,
    weights: tuple[Path, FileFacts],
    projector: tuple[Path, FileFacts] | None,
    extras: Extras,
    modified_s: float,
) -> Model:
    path, facts = weights
    used = extras.chat_template or facts.template
    return Model(
        name=name,
        digest=digest,
        path=str(path),
        projector_path=str(projector[0]) if projector else None,
        anatomy=facts.anatomy,
        projector=projector[1].anatomy if projector else None,
        capabilities=meaning.capabilities(facts.anatomy, used, projector=projector is not None),
        size_bytes=facts.size_bytes + (projector[1].size_bytes if projector else 0),
        modified_at=datetime.fromtimestamp(modified_s, UTC).isoformat().replace("+00:00", "Z"),
        source=extras.source,
        licence=extras.licence or facts.licence,
        template=extras.template or used,
        chat_template=extras.chat_template,
        system=extras.system,
        parameters=dict(extras.parameters),
        messages=extras.messages,
    )
