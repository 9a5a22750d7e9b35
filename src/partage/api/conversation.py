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
    turns: list[Message] = []
    for message in messages:
        if turns and _continues(turns[-1], message):
            turns[-1] = _joined(turns[-1], message)
        else:
            turns.append(message)
    return tuple(turns)


def _continues(last: Message, message: Message) -> bool:
    """Results of tools stay apart, and so does what is said after a call."""
    if last.role != message.role or message.role == "tool":
        return False
    return not (last.tool_calls and (message.thinking or message.content))


def _joined(last: Message, message: Message) -> Message:
    return replace(
        message,
        content="\n\n".join(filter(None, (last.content, message.content))),
        images=last.images + message.images,
        thinking=last.thinking + message.thinking,
        tool_calls=last.tool_calls + message.tool_calls,
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
