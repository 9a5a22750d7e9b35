"""Turns a request into what the policy sees of it: sizes and deadlines, never the words."""

from __future__ import annotations

from typing import assert_never

from partage.domain import Model, Request
from partage.policy.events import Demand
from partage.work import ChatWork, CompletionWork, CountWork, EmbedWork, Work

CHARACTERS_PER_TOKEN = 3.5
"""Of English and German in the usual vocabularies; an estimate only orders the queue, the end corrects it."""
TOKENS_PER_IMAGE = 576
TOKENS_PER_MESSAGE = 8
"""Role and separators of a chat template."""
DEFAULT_OUTPUT_TOKENS = 200


def demand_of(request: Request, *, model: Model, now_s: float, keep_alive_s: float | None) -> Demand:
    """A longer context than the model was trained for is taken as that, as Ollama does."""
    trained = model.anatomy.context_train_tokens or request.context_tokens or 0
    client = request.client
    timeout_s = request.deadline_s if request.deadline_s is not None else client.timeout_s
    prompt_tokens, output_tokens = sizes(request.work)
    return Demand(
        id=request.id,
        model=model.name,
        client=client.name,
        class_=client.class_,
        weight=client.weight,
        max_concurrent=client.max_concurrent,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        context_tokens=min(request.context_tokens or 0, trained),
        deadline_at_s=None if timeout_s is None else now_s + timeout_s,
        hard_deadline=client.hard_deadline,
        keep_alive_s=request.keep_alive_s if request.keep_alive_s is not None else keep_alive_s,
        load_only=request.work is None,
    )


def sizes(work: Work | None) -> tuple[int, int]:
    """(prompt tokens, output tokens), both estimated."""
    match work:
        case None:
            return 0, 0
        case ChatWork(messages=messages, sampling=sampling):
            characters = sum(len(message.content) for message in messages)
            images = sum(len(message.images) for message in messages)
            overhead = len(messages) * TOKENS_PER_MESSAGE
            return _tokens(characters, images) + overhead, sampling.max_tokens or DEFAULT_OUTPUT_TOKENS
        case CompletionWork(prompt=prompt, tokens=tokens, suffix=suffix, images=images, sampling=sampling):
            prompt_tokens = _tokens(len(prompt) + len(suffix), len(images)) + len(tokens)
            return prompt_tokens, sampling.max_tokens or DEFAULT_OUTPUT_TOKENS
        case EmbedWork(inputs=inputs, tokens=tokens):
            return _tokens(sum(map(len, inputs)), 0) + sum(map(len, tokens)), 0
        case CountWork():
            return 1, 0  # the tokenizer's work is nothing beside the model's
        case _:
            assert_never(work)


def _tokens(characters: int, images: int) -> int:
    return int(characters / CHARACTERS_PER_TOKEN) + images * TOKENS_PER_IMAGE + 1
