"""What is too long for its model's context, asked again without its beginning until it fits. As Ollama does."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import TypeAlias

from partage.errors import ContextTooLong
from partage.work import ChatWork, CompletionWork, Message, Output

SHARE = 8
"""An eighth of what may go at a time: few attempts, and little is lost that would have fitted."""
ROOM = 4
"""A text that is cut leaves a quarter of the context to the answer."""
SHORTEST = 64
"""Characters that nothing is cut below: then it is something else that is too long."""

Asked: TypeAlias = ChatWork | CompletionWork


async def forgetting(
    work: Asked, answer: Callable[[Asked], AsyncGenerator[Output, None]]
) -> AsyncGenerator[Output, None]:
    """Raises ContextTooLong when nothing is left that could go."""
    while True:
        begun = False
        try:
            async with aclosing(answer(work)) as outputs:
                async for output in outputs:
                    begun = True
                    yield output
        except ContextTooLong as error:
            shorter = None if begun else _shorter(work, error)
            if shorter is None:
                raise
            work = shorter
        else:
            return


def _shorter(work: Asked, error: ContextTooLong) -> Asked | None:
    if isinstance(work, CompletionWork):
        prompt = without_beginning(work.prompt, error)
        return None if prompt is None else replace(work, prompt=prompt)
    messages = without_oldest(work.messages, error)
    if messages == work.messages:
        messages = without_beginning_of_longest(messages, error)
    return None if messages is None else replace(work, messages=messages)


def without_oldest(messages: tuple[Message, ...], error: ContextTooLong) -> tuple[Message, ...]:
    """System messages and the last one stay, and so does no tool's answer whose question went."""
    old = [at for at, message in enumerate(messages[:-1]) if message.role != "system"]
    share, surplus, gone = -(-len(old) // SHARE), _surplus(messages, error), set[int]()
    for at in old:
        surplus -= len(messages[at].content)
        if len(gone) >= share and surplus < 0 and messages[at].role != "tool":
            break
        gone.add(at)
    return tuple(message for at, message in enumerate(messages) if at not in gone)


def _surplus(messages: tuple[Message, ...], error: ContextTooLong) -> int:
    """The characters that are too many even for a context of a quarter more: a long conversation is asked a few times, not 30."""
    if not (error.prompt_tokens and error.context_tokens):
        return 0
    fits = min(1.0, error.context_tokens * (1 + 1 / ROOM) / error.prompt_tokens)
    return int(sum(len(message.content) for message in messages) * (1 - fits))


def without_beginning_of_longest(messages: tuple[Message, ...], error: ContextTooLong) -> tuple[Message, ...] | None:
    longest = max(messages, key=lambda message: len(message.content))
    rest = sum(len(message.content) for message in messages if message is not longest)
    content = without_beginning(longest.content, error, beside=rest)
    if content is None:
        return None
    return tuple(replace(one, content=content) if one is longest else one for one in messages)


def without_beginning(text: str, error: ContextTooLong, *, beside: int = 0) -> str | None:
    """The end of a text, as long as probably fits with so many characters beside it; None: there is little to cut."""
    if len(text) <= SHORTEST or not error.context_tokens:
        return None
    fits = error.context_tokens * (ROOM - 1) / ROOM / error.prompt_tokens
    keep = int((len(text) + beside) * fits) - beside
    return text[-max(SHORTEST, min(keep, len(text) * (SHARE - 1) // SHARE)) :]
