"""What a request cannot get: from its model, and from the policy. As errors that the dialects know how to tell."""

from __future__ import annotations

from typing import assert_never

from partage.domain import Capability, Model, Request
from partage.errors import (
    CannotFit,
    DeadlinePassed,
    EngineStartFailed,
    ModelNotFound,
    PartageError,
    QueueFull,
    QuotaExceeded,
    Unsupported,
)
from partage.policy.actions import Refuse
from partage.work import ChatWork, CompletionWork, CountWork, EmbedWork, Work

_NEEDS: dict[type[Work], tuple[Capability, str]] = {
    ChatWork: (Capability.COMPLETION, "chat"),
    CompletionWork: (Capability.COMPLETION, "generate"),
    CountWork: (Capability.COMPLETION, "chat"),
    EmbedWork: (Capability.EMBEDDING, "embeddings"),
}


def must_be_able(model: Model, request: Request) -> None:
    """Raises Unsupported."""
    if request.work is None:
        return
    capability, what = _NEEDS[type(request.work)]
    if capability not in model.capabilities:
        raise Unsupported(f'"{model.name}" does not support {what}')
    chat = request.work.chat if isinstance(request.work, CountWork) else request.work
    images = isinstance(chat, ChatWork) and any(message.images for message in chat.messages)
    if images and Capability.VISION not in model.capabilities:
        raise Unsupported(f'"{model.name}" does not support images; it has no vision projector')


def refusal_of(action: Refuse, model: str) -> PartageError:
    """What the policy has refused, in the hub's own errors."""
    retry_after_s = 1.0 if action.retry_after_s is None else action.retry_after_s
    match action.kind:
        case "queue_full":
            return QueueFull(f"server busy: {action.message}", retry_after_s=retry_after_s)
        case "quota":
            return QuotaExceeded(action.message, retry_after_s=retry_after_s)
        case "deadline":
            return DeadlinePassed(action.message, retry_after_s=retry_after_s)
        case "cannot_fit":
            return CannotFit(action.message, needs_bytes=action.needs_bytes, capacity_bytes=action.capacity_bytes)
        case "start_failed":
            return EngineStartFailed(action.message)
        case "unknown_model":
            return ModelNotFound(model)
        case _:
            assert_never(action.kind)
