"""The `context` of /api/generate: the conversation so far, packed into whole numbers that clients hand back unread.

Ollama sends token ids, which mean something to one tokenizer only and would cost a second look at every prompt. Clients do
not read them; so ours are the words themselves, compressed, three bytes to a number. Pictures are not remembered.
"""

from __future__ import annotations

import zlib

import msgspec

from partage.errors import InvalidRequest
from partage.work import Message

BYTES_PER_NUMBER = 3
"""Fits the 32 bits that some clients give a number."""
LONGEST_BYTES = 16 << 20
FOREIGN = "context: these numbers are not from an answer of this server; send the conversation to /api/chat"

_said = msgspec.json.Decoder(tuple[tuple[str, str], ...])


def remember(messages: tuple[Message, ...], answer: str) -> list[int]:
    said = [*((message.role, message.content) for message in messages), ("assistant", answer)]
    data = zlib.compress(msgspec.json.encode(said), 1)
    numbers = (data[at : at + BYTES_PER_NUMBER] for at in range(0, len(data), BYTES_PER_NUMBER))
    return [len(data), *(int.from_bytes(number, "big") for number in numbers)]


def recall(context: list[int]) -> tuple[Message, ...]:
    """Raises InvalidRequest for numbers that remember() did not make."""
    size, *numbers = context
    last = size - BYTES_PER_NUMBER * (len(numbers) - 1)
    if not 0 < last <= BYTES_PER_NUMBER:
        raise InvalidRequest(FOREIGN, field="context")
    unpacker = zlib.decompressobj()
    try:
        data = b"".join(number.to_bytes(BYTES_PER_NUMBER, "big") for number in numbers[:-1])
        data += b"".join(number.to_bytes(last, "big") for number in numbers[-1:])
        said = _said.decode(unpacker.decompress(data, LONGEST_BYTES))
    except (zlib.error, ValueError, OverflowError, msgspec.DecodeError) as error:
        raise InvalidRequest(FOREIGN, field="context") from error
    return tuple(Message(role=role, content=content) for role, content in said)
