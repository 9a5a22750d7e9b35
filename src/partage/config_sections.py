"""The sections of the configuration file as types: what can be set, and what holds when nothing is."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from partage.domain import Class, Client

CLASSES = {"interactive": Class.INTERACTIVE, "normal": Class.NORMAL, "batch": Class.BATCH}

KvType = Literal["f16", "q8_0", "q4_0"]
Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Bytes = Annotated[int, msgspec.Meta(ge=0)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the file. In code the unit is in the name (`_bytes`, `_s`), in the file in the value ("6GiB", "10m")."""


class DeviceConfig(Section, frozen=True, rename={"memory_bytes": "memory", "reserve_bytes": "reserve"}):
    """`devices:` one entry; `gpu: 0` (index or UUID) or `host: true` names it."""

    gpu: int | str | None = None
    host: bool = False
    memory_bytes: Bytes | None = None
    """Promise at most this much of it."""
    reserve_bytes: Bytes | None = None
    cores: Count | None = None


class ModelConfig(Section, frozen=True, rename={"context_tokens": "context", "keep_alive_s": "keep_alive"}):
    """`models:` one entry. None: chosen from the model and the machine."""

    context_tokens: Count | None = None
    slots: Count | None = None
    threads: Count | None = None
    gpu: int | str | tuple[int | str, ...] | None = None
    """The GPU it may use, or several, by index or UUID; `none`: the host alone. Where it does not fit there, layers stay on
    the host, as on a machine without the other GPUs."""
    gpu_layers: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """As llama.cpp counts them, the head included; 0: the host alone."""
    keep: Literal["pinned"] | None = None
    keep_alive_s: float | None = None
    kv_type: KvType | None = None
    flash_attention: bool | None = None


class ClientConfig(
    Section, frozen=True, rename={"class_": "class", "max_concurrent": "concurrent", "timeout_s": "timeout"}
):
    """`clients:` one entry: how urgent it is, what it may use, and how it is recognised."""

    class_: Literal["interactive", "normal", "batch"] = "normal"
    weight: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    key: str | None = None
    key_env: str | None = None
    key_file: str | None = None
    address: str | None = None
    container: str | None = None
    """The name of the container it calls from, where Docker can be asked."""
    max_concurrent: Count | None = None
    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    timeout_s: Seconds | None = None
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
        "park_budget_bytes": "park_budget",
        "max_body_bytes": "max_body",
        "journal_bytes": "journal",
    },
):
    host: str = "127.0.0.1"
    port: Port = 11434
    keep_alive_s: float = 300.0
    max_queue: Count = 512
    context_tokens: Count = 4096
    """Per slot, for models that say nothing else."""
    slots: Count | None = None
    kv_type: KvType = "f16"
    flash_attention: bool = True
    load_timeout_s: Seconds = 300.0
    prompt_cache_bytes: Bytes = 0
    """RAM that llama.cpp may use per engine to remember prompts; its own default is 8 GiB, uncounted."""
    park_budget_bytes: Bytes | None = None
    """RAM that idle engines may be parked in when their GPU is wanted by others; None: a fifth of it, where a GPU can."""
    max_body_bytes: Bytes = 100 << 20
    origins: tuple[str, ...] = ()
    """Web origins let in besides the local ones, by the services too; `*` matches any text."""
    hosts: tuple[str, ...] = ()
    """Host headers let in besides the local ones, where the hub, or a service beside it, is bound to a loopback address."""
    fetch_images: bool = False
    """Fetch pictures that requests name by http(s) URL, from public addresses only."""
    require_key: bool = False
    launcher: str = "auto"
    """Which llama.cpp serves: "xllamacpp", the built-in one; "llama-server", that on the PATH; the path of one; "auto"."""
    standby: bool = True
    """Keep one worker of the built-in engine waiting with its imports done (25 MiB), so that models load sooner."""
    journal_bytes: Bytes = 64 << 20
    docker: str | None = "/var/run/docker.sock"
    """Where Docker is asked (read only) which container calls; null: never."""
    traces: str | None = None
    """An OTLP/HTTP address that gets a trace per request: "http://collector:4318/v1/traces"."""


class DocumentsConfig(Section, frozen=True, rename={"timeout_s": "timeout", "max_file_bytes": "max_file"}):
    host: str = "127.0.0.1"
    port: Port = 8101
    vision_model: str | None = None
    workers: Count = 1
    timeout_s: Seconds = 120.0
    max_file_bytes: Bytes = 100 << 20


class RagConfig(Section, frozen=True, rename={"query_timeout_s": "timeout", "embed_timeout_s": "embed_timeout"}):
    host: str = "127.0.0.1"
    port: Port = 8102
    embed_model: str = "all-minilm:22m"
    chat_model: str | None = None
    query_timeout_s: Seconds = 30.0
    embed_timeout_s: Seconds = 10.0


class DashboardConfig(Section, frozen=True):
    host: str = "127.0.0.1"
    port: Port = 11435


class RemoteConfig(Section, frozen=True):
    """`remotes:` one entry: a server that is adopted, not started."""

    kind: Literal["ollama", "openai"]
    url: str
    models: tuple[str, ...] | None = None
    """None: those that the server lists."""
    key: str | None = None
    key_env: str | None = None
    key_file: str | None = None
    slots: Count = 4


Share = Annotated[float, msgspec.Meta(gt=0, le=1)]
"""In the file "90%" or 0.9."""


class LeasesConfig(Section, frozen=True):
    """`leases:` of what programs that are not models hold."""

    over_limit: Literal["warn", "pause", "kill"] = "warn"
    """What happens to a holder that uses more than its lease."""


class AlertsConfig(
    Section,
    frozen=True,
    rename={
        "gpu_memory_share": "gpu_memory",
        "gpu_memory_for_s": "gpu_memory_for",
        "deadline_miss_share": "deadline_misses",
        "loading_share": "loading",
        "drift_share": "drift",
        "disk_free_share": "disk_free",
    },
):
    """`alerts:` when to raise them (docs/alerts.md) and whom to tell."""

    gpu_memory_share: Share = 0.9
    gpu_memory_for_s: Annotated[float, msgspec.Meta(ge=0)] = 60.0
    deadline_miss_share: Share = 0.01
    loading_share: Share = 0.25
    drift_share: Share = 0.1
    disk_free_share: Share = 0.05
    off: tuple[str, ...] = ()
    """Names of alerts that are not wanted."""
    notify: tuple[str, ...] = ()
    """Addresses as apprise knows them: "ntfys://...", "mailtos://...", "slack://..."."""
    webhook: str | None = None
    """An http(s) address that gets each alert as JSON."""
