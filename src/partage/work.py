"""The nouns of the work: what clients ask of a model, and what engines answer. Frozen; units are in the names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from partage.json_value import JsonObject, JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One picture as it came: the bytes and their media type ("image/png")."""

    data: bytes
    media_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    id: str
    name: str
    arguments: str
    """JSON text, as the model wrote it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    role: str
    content: str = ""
    images: tuple[Image, ...] = ()
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    tool_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are drawn. None: the model's own default."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    typical_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    repeat_penalty: float | None = None
    repeat_last_n: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logprobs: int | None = None
    """How many alternatives per token to report; None: none at all."""
    logit_bias: Mapping[str, float] = field(default_factory=dict[str, float])


OutputFormat: TypeAlias = "Literal['json'] | JsonObject | None"
"""None: free text; "json": any JSON object; a JSON Schema: constrained decoding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatWork:
    messages: tuple[Message, ...]
    sampling: Sampling = Sampling()
    tools: tuple[JsonObject, ...] = ()
    tool_choice: JsonValue = None
    format: OutputFormat = None
    think: bool | str | None = None
    truncate: bool = False
    """A conversation too long for the context goes without its oldest messages, or the beginning of the longest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionWork:
    prompt: str
    tokens: tuple[int, ...] = ()
    """The prompt as ids of the model's own tokenizer, in place of a text."""
    sampling: Sampling = Sampling()
    images: tuple[Image, ...] = ()
    suffix: str = ""
    format: OutputFormat = None
    raw: bool = True
    """The prompt goes to the model as it is, without the chat template."""
    truncate: bool = False
    """A prompt too long for the context goes without its beginning, instead of being refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedWork:
    inputs: tuple[str, ...] = ()
    tokens: tuple[tuple[int, ...], ...] = ()
    """Inputs as ids of the model's own tokenizer, in place of texts."""
    truncate: bool = True
    """Cut inputs that are longer than the model's context; otherwise ContextTooLong."""
    longest_tokens: int | None = None  # of an input, where less is wanted than the model takes
    dimensions: int | None = None
    """Keep the first so many and normalise again."""
    normalise: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class CountWork:
    """How many tokens a conversation is for the model. Done.usage.prompt_tokens says it; nothing is generated."""

    chat: ChatWork


Work: TypeAlias = ChatWork | CompletionWork | EmbedWork | CountWork


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one request cost, as measured by the engine."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Of the prompt, found in the KV cache."""
    output_tokens: int = 0
    prefill_s: float = 0.0
    decode_s: float = 0.0


@dataclass(frozen=True, slots=True)
class PromptProgress:
    """The prompt is being processed: so many tokens of so many."""

    done_tokens: int
    total_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogprob:
    token: str
    logprob: float
    bytes_: tuple[int, ...] = ()
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """The next piece of the answer."""

    text: str = ""
    thinking: str = ""
    tool_calls: tuple[tuple[int, ToolCall], ...] = ()
    """(index, piece): the first piece of an index carries id and name, later ones more of the arguments."""
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The end of an answer."""

    finish_reason: str
    """stop, length, tool_calls."""
    usage: Usage
    stop: str = ""
    """Which of Sampling.stop ended it, where the engine says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """The answer to EmbedWork: one vector per input, in order; each of the model's width."""

    vectors: tuple[tuple[float, ...], ...]
    usage: Usage


Output: TypeAlias = PromptProgress | Delta | Done | Vectors
