"""A conversation as templates like it, whatever dialect it came in: opened, each turn one message, results named."""

from __future__ import annotations

from dataclasses import replace

from partage.domain import Model
from partage.work import Message


def conversation(model: Model, messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """What the client said, led by what the model brings."""
    return opened_by(model, _named(_in_turns(messages)))


def opened_by(model: Model, messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The conversation, led by the system prompt (the client's, else the model's own) and the model's own messages."""
    theirs = messages[:1] if messages and messages[0].role == "system" else ()
    system = theirs or (Message(role="system", content=model.system),)
    said = system if system[0].content else ()  # an empty one from the client turns the model's own off
    return (*said, *model.messages, *messages[len(theirs) :])


def _in_turns(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """One message per turn, as Ollama does: many templates refuse two in a row from one side, or a second system prompt."""
    turns: list[list[Message]] = []
    called = False
    for message in messages:
        if not turns or not _continues(turns[-1][-1], message, called=called):
            turns.append([])
            called = False
        turns[-1].append(message)
        called = called or bool(message.tool_calls)
    return tuple(turn[0] if len(turn) == 1 else _joined(turn) for turn in turns)


def _continues(last: Message, message: Message, *, called: bool) -> bool:
    """Results of tools stay apart, and so does what is said after a call."""
    if last.role != message.role or message.role == "tool":
        return False
    return not (called and (message.thinking or message.content))


def _joined(turn: list[Message]) -> Message:
    """Joined once, however many they are: a client can send a hundred thousand."""
    return replace(
        turn[-1],
        content="\n\n".join(message.content for message in turn if message.content),
        images=tuple(image for message in turn for image in message.images),
        thinking="".join(message.thinking for message in turn),
        tool_calls=tuple(call for message in turn for call in message.tool_calls),
    )


def _named(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """A result that says only which call it answers gets the name of what was called: some templates know no ids."""
    names: dict[str, str] = {}
    named: list[Message] = []
    for message in messages:
        names.update({call.id: call.name for call in message.tool_calls})
        nameless = message.role == "tool" and not message.tool_name
        named.append(replace(message, tool_name=names.get(message.tool_call_id, "")) if nameless else message)
    return tuple(named)
