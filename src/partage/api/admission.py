"""Steps every dialect takes between the wire and hub.admit: what the model can do, and the Request."""

from __future__ import annotations

from typing import assert_never

from partage.api.durations import parse_duration_s
from partage.api.exchange import Exchange
from partage.domain import Capability, Model, Request
from partage.errors import InvalidRequest, Unsupported
from partage.work import ChatWork, CompletionWork, CountWork, EmbedWork, Work


def request_of(
    exchange: Exchange,
    model: Model,
    work: Work | None,
    *,
    keep_alive_s: float | None = None,
    context_tokens: int | None = None,
) -> Request:
    """Raises Unsupported, InvalidRequest."""
    if work is not None:
        _check_capabilities(model, work)
    return Request(
        id=exchange.id,
        model=model.name,
        client=exchange.client,
        work=work,
        keep_alive_s=keep_alive_s,
        context_tokens=context_tokens,
        deadline_s=_deadline_s(exchange),
    )


def _deadline_s(exchange: Exchange) -> float | None:
    """`X-Partage-Timeout: 30` or `30s`: the client has no use for a later answer."""
    text = exchange.header(b"x-partage-timeout")
    if text is None:
        return None
    try:
        seconds = float(text) if text.replace(".", "", 1).isdecimal() else parse_duration_s(text)
    except ValueError:
        seconds = 0.0
    if seconds <= 0:
        raise InvalidRequest(f'X-Partage-Timeout: "{text[:40]}" is no duration; write 30 or "1m30s"')
    return seconds


def can_chat(model: Model) -> bool:
    return not model.capabilities or Capability.CHAT in model.capabilities


def _check_capabilities(model: Model, work: Work) -> None:
    """What the hub does not check: it knows chat, completion, embeddings and pictures.

    A model that says nothing of itself (an adopted one) is believed to do everything.
    """
    for needed, asked in _extras(work):
        if asked and model.capabilities and needed not in model.capabilities:
            raise Unsupported(f'"{model.name}" does not support {needed.value}')


def _extras(work: Work) -> list[tuple[Capability, bool]]:
    match work:
        case ChatWork():
            return [(Capability.TOOLS, bool(work.tools)), (Capability.THINKING, bool(work.think))]
        case CompletionWork():
            return [(Capability.INSERT, bool(work.suffix)), (Capability.VISION, bool(work.images))]
        case EmbedWork():
            return []
        case CountWork(chat=chat):
            return _extras(chat)
        case _:
            assert_never(work)
