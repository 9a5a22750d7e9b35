"""A conversation too long for its model's context, asked again without its oldest messages until it fits."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace

from partage.errors import ContextTooLong
from partage.work import ChatWork, Message, Output

SHARE = 8
"""An eighth of what may go at a time: few attempts, and little is lost that would have fitted."""


async def forgetting(
    work: ChatWork, answer: Callable[[ChatWork], AsyncGenerator[Output, None]]
) -> AsyncGenerator[Output, None]:
    """Raises ContextTooLong when what must stay is too long by itself: then nothing of it is cut in silence."""
    while True:
        begun = False
        try:
            async with aclosing(answer(work)) as outputs:
                async for output in outputs:
                    begun = True
                    yield output
        except ContextTooLong:
            shorter = without_oldest(work.messages)
            if begun or shorter == work.messages:
                raise
            work = replace(work, messages=shorter)
        else:
            return


def without_oldest(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """System messages and the last one stay, and so does no tool's answer whose question went."""
    old = [at for at, message in enumerate(messages[:-1]) if message.role != "system"]
    gone = old[: -(-len(old) // SHARE)]
    for at in old[len(gone) :]:
        if messages[at].role != "tool":
            break
        gone.append(at)
    return tuple(message for at, message in enumerate(messages) if at not in gone)
