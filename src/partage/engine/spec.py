"""What the hub says when it wants an engine: a model file to launch here, or a server elsewhere to adopt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from partage.domain import DeviceId, EngineId, LaunchSettings

HOST: DeviceId = "host"


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchSpec:
    """A llama.cpp child of ours."""

    id: EngineId
    model_path: str
    projector_path: str | None = None
    chat_template: str = ""
    """Jinja in place of the file's own; empty: the file's own."""
    settings: LaunchSettings
    devices: tuple[DeviceId, ...] = (HOST,)
    """Where the placement put it. Every GPU UUID becomes visible to the child, in this order; no UUID hides all GPUs."""
    run_dir: str
    """Holds the socket's private directory; only this user may enter it."""
    llama_server: str | None = None
    """Path of a llama-server binary to use instead of the built-in library."""
    map_weights: bool = True
    """Map the file (shared, reclaimable, quick to load) instead of reading it into memory. Weights that are repacked are
    not mapped: the file's pages would stay in memory beside the copy that is used."""
    repack: bool = True
    """Let llama.cpp rearrange some weights for speed on the CPU."""
    writes_bytes: int = 0
    """Host memory that the load writes, as promised to it: made ready on another core meanwhile. 0: written page by page."""
    start_timeout_s: float = 600.0
    idle_timeout_s: float = 300.0
    """Longest silence of the engine in the middle of a request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteSpec:
    """Somebody else's server, adopted: never started or ended by us."""

    id: EngineId
    kind: Literal["ollama", "openai"]
    base_url: str
    """"http://gpu-box.example.com:11434"; for OpenAI-compatible servers without the /v1."""
    model: str
    """Its name over there."""
    api_key: str = field(default="", repr=False)
    device: DeviceId = ""
    """What its memory counts against; empty: nothing of ours."""
    context_tokens: int = 4096
    slots: int = 4
    start_timeout_s: float = 600.0
    idle_timeout_s: float = 300.0


EngineSpec: TypeAlias = LaunchSpec | RemoteSpec
