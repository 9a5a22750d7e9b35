"""Ollama's `options`, and the parameters a model brings along, as Sampling: every option has a type and a range."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

from partage.domain import Model
from partage.errors import InvalidRequest
from partage.json_value import JsonValue
from partage.work import Sampling

logger = logging.getLogger(__name__)

_INT63 = 2**63 - 1
_INT31 = 2**31 - 1

SAMPLING: Mapping[str, tuple[type[int | float], float, float]] = {
    "num_predict": (int, -2, _INT31),
    "temperature": (float, 0, 100),
    "top_p": (float, 0, 1),
    "top_k": (int, -1, _INT31),
    "min_p": (float, 0, 1),
    "typical_p": (float, 0, 1),
    "seed": (int, -_INT63, _INT63),
    "repeat_penalty": (float, 0, 100),
    "repeat_last_n": (int, -1, _INT31),
    "presence_penalty": (float, -100, 100),
    "frequency_penalty": (float, -100, 100),
}
"""Name -> type, least, most. Beyond them llama.cpp does as at the end of the range."""

OLLAMA_DEFAULTS: Mapping[str, JsonValue] = {
    "temperature": 0.8,
    "top_k": 40,
    "top_p": 0.9,
    "min_p": 0.0,
    "repeat_penalty": 1.0,
    "repeat_last_n": 64,
}
OPENAI_DEFAULTS: Mapping[str, JsonValue] = {"temperature": 1.0, "top_p": 1.0}

DECIDED_BY_THE_HUB = frozenset({
    "draft_num_predict", "embedding_only", "f16_kv", "logits_all", "low_vram", "main_gpu", "num_batch", "num_gpu",
    "num_thread", "numa", "use_mlock", "use_mmap", "vocab_only",
})  # fmt: skip
"""How a model is loaded is the hub's to decide: one client's wish would reload it under all the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    sampling: Sampling
    context_tokens: int | None = None


def options_of(
    model: Model,
    asked: Mapping[str, Any] | None,
    defaults: Mapping[str, JsonValue],
    *,
    fields: Mapping[str, Any] | None = None,
    logprobs: int | None = None,
    logit_bias: Mapping[str, float] | None = None,
) -> Options:
    """What was asked for, else what the model brought, else the dialect's default. Raises InvalidRequest.

    `fields` are options that have a field of their own in the request's body (OpenAI's dialect), under Ollama's names. What
    is out of range there is refused, as OpenAI does; in `options` it is taken for the end of the range, as in Ollama.
    """
    options, named = _given(asked), _given(fields)
    merged: dict[str, Any] = {**defaults, **model.parameters, **options, **named}
    for name in options.keys() - SAMPLING.keys() - {"num_ctx", "stop"}:
        _log_ignored(name[:60], hub_decides=name in DECIDED_BY_THE_HUB)
    drawn: dict[str, Any] = {
        name: _in_range("max_tokens" if name == "num_predict" else name, merged[name], *SAMPLING[name])
        if name in named
        else _clamped(f"options.{name}", merged[name], *SAMPLING[name])
        for name in SAMPLING.keys() & merged.keys()
    }
    if drawn.get("repeat_penalty") == 0:
        drawn["repeat_penalty"] = 1.0  # what divides by it cannot be 0; LiteLLM sends that for no penalty
    max_tokens = drawn.pop("num_predict", None)
    num_ctx = _clamped("options.num_ctx", merged.get("num_ctx", 0), int, 0, _INT31)
    return Options(
        sampling=Sampling(
            max_tokens=None if max_tokens is None or max_tokens < 0 else max_tokens,
            stop=_stop(merged.get("stop")),
            logprobs=logprobs,
            logit_bias=logit_bias or {},
            **drawn,
        ),
        context_tokens=num_ctx or None,
    )


def _given(options: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (options or {}).items() if value is not None}


def top_logprobs_of(*, wanted: bool | None, top: int | None, field: str = "top_logprobs") -> int | None:
    """How many alternatives per token; None: no log probabilities at all. Raises InvalidRequest."""
    if top is not None and not 0 <= top <= 20:
        raise InvalidRequest(f"{field} must be from 0 to 20", field=field)
    return (top or 0) if wanted else None


Number = TypeVar("Number", int, float)


def _in_range(field: str, value: object, kind: type[Number], least: float, most: float) -> Number:
    number = _number(field, value, kind)
    if not least <= number <= most:
        raise InvalidRequest(f"{field} must be from {least:g} to {most:g}, got {_short(value)}", field=field)
    return number


def _clamped(field: str, value: object, kind: type[Number], least: float, most: float) -> Number:
    return kind(max(least, min(most, _number(field, value, kind))))


def _number(field: str, value: object, kind: type[Number]) -> Number:
    # JSON knows no integers: 40.0 is one. And True is an int to Python, but not to anybody else.
    if not isinstance(value, int | float) or isinstance(value, bool) or (kind is int and value != int(value)):
        wanted = "an integer" if kind is int else "a number"
        raise InvalidRequest(f"{field} must be {wanted}, got {_short(value)}", field=field)
    return kind(value)


def _stop(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,) if value else ()
    if isinstance(value, list) and all(isinstance(text, str) for text in value):
        return tuple(text for text in value if text)
    raise InvalidRequest("options.stop must be a string or an array of strings", field="options.stop")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


@lru_cache(maxsize=1024)  # once per name, however many requests bring it
def _log_ignored(name: str, *, hub_decides: bool) -> None:
    if hub_decides:
        logger.info("option %r is ignored: the hub decides how models are loaded", name)
    else:
        logger.warning("unknown option %r is ignored", name)
