"""What a way to a model server does: posts JSON, streams lines, and turns every failure into an error of ours."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol, TypeVar

import msgspec

from partage.errors import ContextTooLong, EngineError, InvalidRequest, PartageError, Unsupported

LONGEST_ERROR_BODY = 64 * 1024
UNREADABLE = "the model server sent something unreadable: {}"

T = TypeVar("T")


class Connection(Protocol):
    """Any number of requests go side by side. All raise EngineCrashed, EngineTimedOut, and what the server's error says.

    To our own child: child_connection.py; to adopted servers: remote_connection.py.
    """

    async def get(self, path: str) -> bytes: ...

    async def post(self, path: str, body: object) -> bytes: ...

    def lines(self, path: str, body: object) -> AsyncGenerator[list[bytes], None]:
        """Yield the complete lines of a streamed answer, as they arrive, without their ends.

        Leaving it early closes the connection at once: that is how the server learns that nobody listens any more.
        """
        ...


def decode(answer: bytes, type_: type[T]) -> T:
    try:
        return msgspec.json.decode(answer, type=type_)
    except msgspec.MsgspecError as error:
        raise EngineError(UNREADABLE.format(error)) from error


class _ErrorBody(msgspec.Struct):
    message: str = ""
    type: str = ""
    code: int | str | None = None
    n_prompt_tokens: int = 0
    n_ctx: int = 0


class _Problem(msgspec.Struct):
    error: _ErrorBody | str = ""
    message: str = ""


def error_of(status: int, body: bytes) -> PartageError:
    """Read the error body of llama.cpp, Ollama, OpenAI or vLLM."""
    try:
        problem = msgspec.json.decode(body, type=_Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        problem = _Problem(error=body[:300].decode(errors="replace").strip())
    error = problem.error
    if isinstance(error, str):
        error = _ErrorBody(message=error or problem.message)
    message = error.message or f"the model server answered {status}"
    lowered = message.lower()
    if error.n_ctx:
        return ContextTooLong(
            f"the prompt has {error.n_prompt_tokens} tokens, the model's context holds {error.n_ctx}; "
            f"shorten it, or ask for a larger context",
            prompt_tokens=error.n_prompt_tokens,
            context_tokens=error.n_ctx,
        )
    if error.code == "context_length_exceeded" or "context length" in lowered or "too large to process" in lowered:
        return ContextTooLong(message)
    if status == 501 or "not supported" in lowered or "does not support" in lowered:
        return Unsupported(message)
    if status in {400, 413, 415, 422}:
        return InvalidRequest(message)
    if status in {401, 403}:
        return EngineError("the model server refuses the hub's key")
    return EngineError(message)
