"""The configuration: one frozen Config from file, environment and flags. The only reader of both."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import msgspec
from ruamel.yaml import YAML, YAMLError

from partage.domain import Class, Client
from partage.errors import ConfigError, InvalidRequest
from partage.quantities import parse_bytes, parse_duration_s

MAX_FILE_BYTES = 1 << 20
CLASSES = {"interactive": Class.INTERACTIVE, "normal": Class.NORMAL, "batch": Class.BATCH}

T = TypeVar("T")
KvType = Literal["f16", "q8_0", "q4_0"]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the file. In code the unit is in the name (`_bytes`, `_s`), in the file in the value ("6GiB", "10m")."""


class DeviceConfig(Section, frozen=True, rename={"memory_bytes": "memory", "reserve_bytes": "reserve"}):
    """`devices:` one entry; `gpu: 0` (index or UUID) or `host: true` names it."""

    gpu: int | str | None = None
    host: bool = False
    memory_bytes: int | None = None
    """Promise at most this much of it."""
    reserve_bytes: int | None = None
    cores: int | None = None


class ModelConfig(Section, frozen=True, rename={"context_tokens": "context", "keep_alive_s": "keep_alive"}):
    """`models:` one entry. None: chosen from the model and the machine."""

    context_tokens: int | None = None
    slots: int | None = None
    threads: int | None = None
    gpu_layers: int | None = None
    keep: Literal["pinned"] | None = None
    keep_alive_s: float | None = None
    kv_type: KvType | None = None
    flash_attention: bool | None = None


class ClientConfig(
    Section, frozen=True, rename={"class_": "class", "max_concurrent": "concurrent", "timeout_s": "timeout"}
):
    """`clients:` one entry: how urgent it is, what it may use, and how it is recognised."""

    class_: Literal["interactive", "normal", "batch"] = "normal"
    weight: float = 1.0
    key: str | None = None
    key_env: str | None = None
    key_file: str | None = None
    address: str | None = None
    max_concurrent: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    timeout_s: float | None = None
    hard_deadline: bool = False

    def client(self, name: str) -> Client:
        return Client(
            name=name,
            class_=CLASSES[self.class_],
            weight=self.weight,
            max_concurrent=self.max_concurrent,
            requests_per_minute=self.requests_per_minute,
            tokens_per_minute=self.tokens_per_minute,
            timeout_s=self.timeout_s,
            hard_deadline=self.hard_deadline,
        )


class HubConfig(
    Section,
    frozen=True,
    rename={
        "keep_alive_s": "keep_alive",
        "context_tokens": "context",
        "load_timeout_s": "load_timeout",
        "prompt_cache_bytes": "prompt_cache",
        "max_body_bytes": "max_body",
        "journal_bytes": "journal",
    },
):
    host: str = "127.0.0.1"
    port: int = 11434
    keep_alive_s: float = 300.0
    max_queue: int = 512
    context_tokens: int = 4096
    """Per slot, for models that say nothing else."""
    slots: int | None = None
    kv_type: KvType = "f16"
    flash_attention: bool = True
    load_timeout_s: float = 300.0
    prompt_cache_bytes: int = 0
    """RAM that llama.cpp may use per engine to remember prompts; its own default is 8 GiB, uncounted."""
    max_body_bytes: int = 100 << 20
    origins: tuple[str, ...] = ()
    require_key: bool = False
    launcher: Literal["auto", "xllamacpp", "llama-server"] = "auto"
    journal_bytes: int = 64 << 20


class DocumentsConfig(Section, frozen=True, rename={"timeout_s": "timeout", "max_file_bytes": "max_file"}):
    host: str = "127.0.0.1"
    port: int = 8101
    vision_model: str | None = None
    workers: int = 1
    timeout_s: float = 120.0
    max_file_bytes: int = 100 << 20


class RagConfig(Section, frozen=True, rename={"query_timeout_s": "timeout", "embed_timeout_s": "embed_timeout"}):
    host: str = "127.0.0.1"
    port: int = 8102
    embed_model: str = "all-minilm:22m"
    chat_model: str | None = None
    query_timeout_s: float = 30.0
    embed_timeout_s: float = 10.0


class RemoteConfig(Section, frozen=True):
    """`remotes:` one entry: a server that is adopted, not started."""

    kind: Literal["ollama", "openai"]
    url: str
    models: tuple[str, ...]
    key: str | None = None
    key_env: str | None = None
    slots: int = 4


class _File(Section, frozen=True):
    """The file's sections, each converted on its own so that an error names its entry."""

    hub: Any = None
    documents: Any = None
    rag: Any = None
    devices: tuple[Any, ...] = ()
    models: dict[str, Any] = {}
    clients: dict[str, Any] = {}
    remotes: dict[str, Any] = {}


class Config(msgspec.Struct, frozen=True, kw_only=True):
    home: Path
    hub: HubConfig = HubConfig()
    documents: DocumentsConfig = DocumentsConfig()
    rag: RagConfig = RagConfig()
    devices: tuple[DeviceConfig, ...] = ()
    models: Mapping[str, ModelConfig] = {}
    clients: Mapping[str, ClientConfig] = {}
    remotes: Mapping[str, RemoteConfig] = {}
    hub_url: str | None = None
    """Where the services find the hub; None: at hub.host and hub.port. $PARTAGE_HUB_URL."""
    documents_url: str | None = None
    """Where the RAG service finds the document service. $PARTAGE_DOCUMENTS_URL."""
    warnings: tuple[str, ...] = ()
    """What was understood but has no effect, with what replaces it."""


SERVICE_CLASSES: Mapping[str, Literal["interactive", "normal", "batch"]] = {
    "chat": "interactive",
    "documents": "batch",
    "rag": "interactive",
}
"""Clients that exist without being configured, once they have a key (PARTAGE_KEY_DOCUMENTS and so on)."""
KEY_PREFIX = "PARTAGE_KEY_"


def home_dir(environ: Mapping[str, str] | None = None) -> Path:
    """`$PARTAGE_HOME`, or ~/.partage."""
    value = (os.environ if environ is None else environ).get("PARTAGE_HOME")  # noqa: TID251 this is the one reader
    return Path(value).expanduser() if value else Path.home() / ".partage"


def load_config(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Config:
    """Read the file (given, or $PARTAGE_CONFIG, ./partage.yaml, $PARTAGE_HOME/partage.yaml), then the environment.

    Raises ConfigError naming the key and the file.
    """
    environ = os.environ if environ is None else environ  # noqa: TID251 this is the one reader
    config = Config(home=home_dir(environ))
    file = _find_file(path, environ, config.home)
    if file is not None:
        try:
            config = _from_file(config, _read_yaml(file), environ)
        except ConfigError as error:
            raise ConfigError(f"{file}: {error.message}") from error.__cause__
    return _from_environment(config, environ)


# ---- the file --------------------------------------------------------------------------------------------------


def _find_file(path: Path | None, environ: Mapping[str, str], home: Path) -> Path | None:
    named = path or (Path(environ["PARTAGE_CONFIG"]) if environ.get("PARTAGE_CONFIG") else None)
    if named is not None:
        if not named.is_file():
            raise ConfigError(f"the configuration file {named} does not exist")
        return named
    return next((p for p in (Path("partage.yaml"), home / "partage.yaml") if p.is_file()), None)


def _read_yaml(file: Path) -> object:
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(f"larger than {MAX_FILE_BYTES} bytes: that is no configuration")
        return YAML(typ="safe", pure=True).load(file) or {}
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}") from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"not valid YAML: {error}") from error


def _from_file(config: Config, document: object, environ: Mapping[str, str]) -> Config:
    file = _convert(document, _File, "")
    devices = tuple(_convert(entry, DeviceConfig, f"devices[{n}]") for n, entry in enumerate(file.devices))
    for n, device in enumerate(devices):
        if device.host == (device.gpu is not None):
            raise ConfigError(f"devices[{n}]: say either `gpu: 0` (or a UUID) or `host: true`")
    return msgspec.structs.replace(
        config,
        hub=_convert(file.hub, HubConfig, "hub"),
        documents=_convert(file.documents, DocumentsConfig, "documents"),
        rag=_convert(file.rag, RagConfig, "rag"),
        devices=devices,
        models={name: _convert(entry, ModelConfig, f"models.{name}") for name, entry in file.models.items()},
        clients={
            name: _with_key(name, _convert(entry, ClientConfig, f"clients.{name}"), environ)
            for name, entry in file.clients.items()
        },
        remotes={name: _convert(entry, RemoteConfig, f"remotes.{name}") for name, entry in file.remotes.items()},
    )


def _convert(document: object, kind: type[T], where: str) -> T:
    """A section of the file: its quantities read by the unit in the field's name, then checked against its type."""
    prefix = f"{where}: " if where else ""
    entry: object = {} if document is None else document
    if isinstance(entry, dict):
        entry = dict(cast("dict[str, object]", entry))
        for field in msgspec.structs.fields(kind):  # pyright: ignore[reportArgumentType] every T here is a Struct
            value = entry.get(field.encode_name)
            if isinstance(value, str) and field.name.endswith(("_bytes", "_s")):
                try:
                    entry[field.encode_name] = (parse_bytes if field.name.endswith("_bytes") else parse_duration_s)(
                        value
                    )
                except InvalidRequest as error:
                    raise ConfigError(f"{prefix}{field.encode_name}: {error.message}") from None
    try:
        return msgspec.convert(entry, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{prefix}{error}") from None


def _with_key(name: str, entry: ClientConfig, environ: Mapping[str, str]) -> ClientConfig:
    if entry.weight <= 0:
        raise ConfigError(f"clients.{name}.weight must be greater than 0")
    if entry.key_env is not None:
        key = environ.get(entry.key_env)
        if not key:
            raise ConfigError(f"clients.{name}.key_env: the environment has no {entry.key_env}")
        return msgspec.structs.replace(entry, key=key)
    if entry.key_file is not None:
        try:
            return msgspec.structs.replace(entry, key=Path(entry.key_file).read_text(encoding="utf-8").strip())
        except OSError as error:
            raise ConfigError(f"clients.{name}.key_file: {entry.key_file} cannot be read: {error.strerror}") from None
    return entry


# ---- the environment: what Ollama's users already have in their .env --------------------------------------------

OBSOLETE = {
    "OLLAMA_MAX_VRAM": "set devices[].memory in partage.yaml",
    "OLLAMA_NUM_GPU": "read by nothing; set models.NAME.gpu_layers",
    "OLLAMA_GPU_LAYERS": "read by nothing; set models.NAME.gpu_layers",
    "OLLAMA_MAX_LOADED_MODELS": "Partage loads what fits; pin a model with models.NAME.keep: pinned",
    "OLLAMA_SCHED_SPREAD": "placement is per model; one device is used where one is enough",
    "OLLAMA_NEW_ENGINE": "read by nothing any more",
    "OLLAMA_MULTIUSER_CACHE": "read by nothing any more",
}


def _from_environment(config: Config, environ: Mapping[str, str]) -> Config:
    values = {name: text.strip().strip("\"'") for name, text in environ.items() if name.startswith("OLLAMA_")}
    changes: dict[str, object] = {}
    for name, (fields, parse) in HONOURED.items():
        text = values.get(name)
        if not text:
            continue
        try:
            parsed = parse(text)
        except (ValueError, InvalidRequest) as error:
            raise ConfigError(f"environment variable {name}={text!r}: {error}") from None
        changes.update(zip(fields, parsed if isinstance(parsed, tuple) and len(fields) > 1 else (parsed,), strict=True))
    hub = msgspec.structs.replace(config.hub, **{key: value for key, value in changes.items() if value is not None})
    warnings = tuple(f"{name} has no effect here: {cure}" for name, cure in OBSOLETE.items() if values.get(name))
    return msgspec.structs.replace(
        config,
        hub=hub,
        clients=_with_environment_keys(config.clients, environ),
        hub_url=environ.get("PARTAGE_HUB_URL") or config.hub_url,
        documents_url=environ.get("PARTAGE_DOCUMENTS_URL") or config.documents_url,
        warnings=config.warnings + warnings,
    )


def _with_environment_keys(
    clients: Mapping[str, ClientConfig], environ: Mapping[str, str]
) -> Mapping[str, ClientConfig]:
    keys = {name[len(KEY_PREFIX) :].lower(): key for name, key in environ.items() if name.startswith(KEY_PREFIX)}
    merged = dict(clients)
    for name, key in keys.items():
        entry = clients.get(name, ClientConfig(class_=SERVICE_CLASSES.get(name, "normal")))
        merged[name] = msgspec.structs.replace(entry, key=key)
    return merged


def _listen(text: str) -> tuple[str | None, int | None]:
    """(host, port) of "0.0.0.0", ":11434", "host:port", "http://host:port", "[::1]:80"."""
    bare = text.split("://", 1)[-1].split("/", 1)[0]
    host, separator, port = bare.rpartition(":")
    if not separator or "]" in port:
        host, port = bare, ""
    if port and not port.isdigit():
        raise ValueError(f"{port!r} is not a port")
    return host.strip("[]") or None, int(port) if port else None


def _keep_alive(text: str) -> float:
    """Ollama reads this one as a duration or as a bare number of seconds; negative is for ever."""
    try:
        return float(text)
    except ValueError:
        return parse_duration_s(text)


def _positive(text: str) -> int | None:
    """0 means "the server's choice"."""
    return int(text) or None


def _boolean(text: str) -> bool:
    return text.lower() not in ("0", "false", "f", "no", "off")


def _kv_type(text: str) -> str:
    if text not in ("f16", "q8_0", "q4_0"):
        raise ValueError("one of f16, q8_0, q4_0")
    return text


def _origins(text: str) -> tuple[str, ...]:
    return tuple(origin.strip() for origin in text.split(",") if origin.strip())


HONOURED: dict[str, tuple[tuple[str, ...], Callable[[str], object]]] = {
    "OLLAMA_HOST": (("host", "port"), _listen),
    "OLLAMA_KEEP_ALIVE": (("keep_alive_s",), _keep_alive),
    "OLLAMA_MAX_QUEUE": (("max_queue",), int),
    "OLLAMA_CONTEXT_LENGTH": (("context_tokens",), _positive),
    "OLLAMA_NUM_PARALLEL": (("slots",), _positive),
    "OLLAMA_KV_CACHE_TYPE": (("kv_type",), _kv_type),
    "OLLAMA_FLASH_ATTENTION": (("flash_attention",), _boolean),
    "OLLAMA_LOAD_TIMEOUT": (("load_timeout_s",), parse_duration_s),
    "OLLAMA_ORIGINS": (("origins",), _origins),
}
