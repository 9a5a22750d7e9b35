"""The configuration: one frozen Config from file, environment and flags. The only reader of both."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import msgspec
from ruamel.yaml import YAML, YAMLError

from partage.config_checks import (
    check_client,
    check_device,
    check_distinct,
    check_registry,
    check_remote,
    check_unit,
)
from partage.config_errors import Place, WrongSetting, check_keys, line_of, told
from partage.config_sections import (
    AlertsConfig,
    ClientConfig,
    DashboardConfig,
    DeviceConfig,
    DocumentsConfig,
    HubConfig,
    LeasesConfig,
    ModelConfig,
    RagConfig,
    RemoteConfig,
    Section,
)
from partage.environment import read_dotenv, read_ollama, visible_gpus
from partage.errors import ConfigError, InvalidRequest
from partage.quantities import parse_bytes, parse_duration_s, parse_share

MAX_FILE_BYTES = 1 << 20

T = TypeVar("T", bound=msgspec.Struct)
Keyed = TypeVar("Keyed", ClientConfig, RemoteConfig)
UNITS: dict[str, Callable[[str], float]] = {"_bytes": parse_bytes, "_s": parse_duration_s, "_share": parse_share}


class _File(Section, frozen=True):
    """The file's sections, each converted on its own so that an error names its entry."""

    hub: Any = None
    documents: Any = None
    rag: Any = None
    dashboard: Any = None
    devices: tuple[Any, ...] = ()
    models: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    clients: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    remotes: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    alerts: Any = None
    leases: Any = None
    registry: str | None = None
    private_registries: tuple[str, ...] = ()
    ollama_models: str | None = None
    models_dir: str | None = None


class Config(msgspec.Struct, frozen=True, kw_only=True):
    home: Path
    hub: HubConfig = HubConfig()
    documents: DocumentsConfig = DocumentsConfig()
    rag: RagConfig = RagConfig()
    dashboard: DashboardConfig = DashboardConfig()
    devices: tuple[DeviceConfig, ...] = ()
    models: Mapping[str, ModelConfig] = {}
    clients: Mapping[str, ClientConfig] = {}
    remotes: Mapping[str, RemoteConfig] = {}
    alerts: AlertsConfig = AlertsConfig()
    leases: LeasesConfig = LeasesConfig()
    registry: str = ""
    """Where model names without a host are looked up: "registry.example.com", or a URL. $PARTAGE_REGISTRY."""
    private_registries: frozenset[str] = frozenset()
    """HOST or HOST:PORT on this machine or in its network that clients may name in `pull` and `push`."""
    ollama_models: Path | None = None
    """An Ollama model directory, read in place. $OLLAMA_MODELS."""
    models_dir: Path | None = None
    """A directory of GGUF files, read in place. $PARTAGE_MODELS_DIR."""
    transfer_streams: int = 4
    """Connections per file when models are fetched. $OLLAMA_MAX_TRANSFER_STREAMS."""
    hub_url: str | None = None
    """Where the services find the hub; None: at hub.host and hub.port. $PARTAGE_HUB_URL."""
    documents_url: str | None = None
    """Where the RAG service finds the document service. $PARTAGE_DOCUMENTS_URL."""
    rag_url: str | None = None
    """Where the dashboard finds the RAG service. $PARTAGE_RAG_URL."""
    visible_gpus: tuple[str, ...] | None = None
    """Indices and UUIDs of the GPUs that may be used at all; None: every one. $CUDA_VISIBLE_DEVICES."""
    warnings: tuple[str, ...] = ()
    """What was understood but has no effect, with what replaces it."""


SERVICE_CLASSES: Mapping[str, Literal["interactive", "normal", "batch"]] = {
    "chat": "interactive",
    "documents": "batch",
    "rag": "interactive",
    "dashboard": "interactive",
}
"""Clients that exist without being configured, once they have a key (PARTAGE_KEY_DOCUMENTS and so on)."""
KEY_PREFIX = "PARTAGE_KEY_"


def _environment() -> Mapping[str, str]:
    """The process's own, over what ./.env says."""
    return {**read_dotenv(Path(".env")), **os.environ}  # noqa: TID251 this is the one reader


def home_dir(environ: Mapping[str, str] | None = None) -> Path:
    """`$PARTAGE_HOME`, or ~/.partage."""
    value = (_environment() if environ is None else environ).get("PARTAGE_HOME")
    return Path(value).expanduser() if value else Path.home() / ".partage"


def load_config(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Config:
    """Read the file (given, or $PARTAGE_CONFIG, ./partage.yaml, $PARTAGE_HOME/partage.yaml), then the environment.

    The environment is the process's, and ./.env where that says nothing. Raises ConfigError naming the key and the file.
    """
    environ = _environment() if environ is None else environ
    config = Config(home=home_dir(environ))
    file = _find_file(path, environ, config.home)
    if file is not None:
        try:
            config = _from_file(config, _read_yaml(file), environ)
        except WrongSetting as error:
            line = line_of(file, error.place)
            raise ConfigError(f"{file}{f':{line}' if line else ''}: {error.message}") from error.__cause__
        except ConfigError as error:
            raise ConfigError(f"{file}: {error.message}") from error.__cause__
    config = _from_environment(config, environ)
    check_distinct(config.clients)
    return config


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
    file = _convert(document, _File, ())
    devices = tuple(_convert(entry, DeviceConfig, ("devices", n)) for n, entry in enumerate(file.devices))
    clients = {name: _convert(entry, ClientConfig, ("clients", name)) for name, entry in file.clients.items()}
    remotes = {name: _convert(entry, RemoteConfig, ("remotes", name)) for name, entry in file.remotes.items()}
    for n, device in enumerate(devices):
        check_device(("devices", n), device)
    for name, client in clients.items():
        check_client(("clients", name), client)
    for name, remote in remotes.items():
        check_remote(("remotes", name), remote)
    for n, registry in enumerate(file.private_registries):
        check_registry(("private_registries", n), registry)
    if file.registry:
        check_registry(("registry",), file.registry, url=True)
    return msgspec.structs.replace(
        config,
        hub=_convert(file.hub, HubConfig, ("hub",)),
        documents=_convert(file.documents, DocumentsConfig, ("documents",)),
        rag=_convert(file.rag, RagConfig, ("rag",)),
        dashboard=_convert(file.dashboard, DashboardConfig, ("dashboard",)),
        devices=devices,
        models={name: _convert(entry, ModelConfig, ("models", name)) for name, entry in file.models.items()},
        clients={name: _with_key(("clients", name), entry, environ) for name, entry in clients.items()},
        remotes={name: _with_key(("remotes", name), entry, environ) for name, entry in remotes.items()},
        alerts=_convert(file.alerts, AlertsConfig, ("alerts",)),
        leases=_convert(file.leases, LeasesConfig, ("leases",)),
        registry=file.registry or "",
        private_registries=frozenset(file.private_registries),
        ollama_models=_directory(file.ollama_models),
        models_dir=_directory(file.models_dir),
    )


def _convert(document: object, kind: type[T], place: Place) -> T:
    """A section of the file: its quantities read by the unit in the field's name, then checked against its type."""
    entry: object = {} if document is None else document
    if isinstance(entry, dict):
        entry = dict(cast("dict[str, object]", entry))
        check_keys(entry, kind, place)
        for field in msgspec.structs.fields(kind):
            value = entry.get(field.encode_name)
            if field.name.endswith("_bytes"):
                check_unit((*place, field.encode_name), value)
            parse = next((parse for unit, parse in UNITS.items() if field.name.endswith(unit)), None)
            if isinstance(value, str) and parse is not None:
                try:
                    entry[field.encode_name] = parse(value)
                except InvalidRequest as error:
                    raise WrongSetting((*place, field.encode_name), error.message) from None
    try:
        return msgspec.convert(entry, kind)
    except msgspec.ValidationError as error:
        raise told(error, kind, entry, place) from None


def _directory(text: str | None) -> Path | None:
    return Path(text).expanduser() if text else None


def _streams(text: str | None) -> int:
    if not (text := (text or "").strip()):
        return 4
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise ConfigError(f"environment variable OLLAMA_MAX_TRANSFER_STREAMS={text!r}: a number from 1 to 64 is needed")
    return int(text)


def _with_key(place: Place, entry: Keyed, environ: Mapping[str, str]) -> Keyed:
    if entry.key_env is not None:
        key = environ.get(entry.key_env)
        if not key:
            raise WrongSetting((*place, "key_env"), f"the environment has no {entry.key_env}")
        return msgspec.structs.replace(entry, key=key)
    if entry.key_file is not None:
        try:
            return msgspec.structs.replace(entry, key=Path(entry.key_file).read_text(encoding="utf-8").strip())
        except OSError as error:
            raise WrongSetting((*place, "key_file"), f"{entry.key_file} cannot be read: {error.strerror}") from None
    return entry


def _from_environment(config: Config, environ: Mapping[str, str]) -> Config:
    ollama = read_ollama(environ)
    return msgspec.structs.replace(
        config,
        hub=msgspec.structs.replace(config.hub, **ollama.hub),
        clients=_with_environment_keys(config.clients, environ),
        hub_url=environ.get("PARTAGE_HUB_URL") or config.hub_url,
        documents_url=environ.get("PARTAGE_DOCUMENTS_URL") or config.documents_url,
        rag_url=environ.get("PARTAGE_RAG_URL") or config.rag_url,
        registry=environ.get("PARTAGE_REGISTRY") or config.registry,
        ollama_models=_directory(environ.get("OLLAMA_MODELS")) or config.ollama_models,
        models_dir=_directory(environ.get("PARTAGE_MODELS_DIR")) or config.models_dir,
        transfer_streams=_streams(environ.get("OLLAMA_MAX_TRANSFER_STREAMS")),
        visible_gpus=visible_gpus(environ),
        warnings=config.warnings + ollama.warnings,
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
