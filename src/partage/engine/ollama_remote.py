"""A model on an Ollama server that somebody else runs: loaded and unloaded there by keep_alive."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import assert_never

import msgspec

from partage.engine.adopted import Adopted, Held
from partage.engine.answers import LogprobJson, count_by_answering, logprobs_of, stream_answer
from partage.engine.bodies import sampling_json
from partage.engine.connection import decode, error_of
from partage.errors import EngineCrashed, InvalidRequest, Unsupported
from partage.json_value import JsonObject, JsonValue
from partage.work import (
    ChatWork,
    CompletionWork,
    CountWork,
    Delta,
    Done,
    EmbedWork,
    Message,
    Output,
    Sampling,
    ToolCall,
    Usage,
    Vectors,
    Work,
)

_FOR_EVER = -1
"""keep_alive: the hub decides when it leaves, not Ollama's own five minutes."""


class _Held(msgspec.Struct):
    name: str = ""
    model: str = ""
    size: int = 0
    size_vram: int = 0


class _Running(msgspec.Struct):
    models: list[_Held] = []


class OllamaRemote(Adopted):
    _keep_alive_path = "/api/generate"
    _answering = 0
    """Requests."""

    async def load(self) -> Held:
        try:
            await self._keep(_FOR_EVER)
        except Unsupported:  # an embedding model does not generate
            self._keep_alive_path = "/api/embed"
            await self._keep(_FOR_EVER)
        return await self._listed() or Held()

    async def look(self) -> Held | None:
        """One that answers a request is coming back, if it is not there."""
        return await self._listed() or (self.held if self._answering else None)

    async def _listed(self) -> Held | None:
        running = decode(await self.connection.get("/api/ps"), _Running)
        names = {self.spec.model, f"{self.spec.model}:latest"}
        found = (one for one in running.models if {one.name, one.model} & names)
        return next((Held(one.size, one.size_vram) for one in found), None)

    async def unload(self) -> None:
        await self._keep(0)

    async def _keep(self, keep_alive: int) -> None:
        """Ask for no work, only that the model stays or goes."""
        nothing: JsonObject = {"prompt": "", "input": "", "stream": False, "keep_alive": keep_alive}
        await self.connection.post(self._keep_alive_path, {**self._order(), **nothing})

    async def stream(self, work: Work) -> AsyncGenerator[Output, None]:
        self._answering += 1
        try:
            async with aclosing(self._outputs(work)) as outputs:
                async for output in outputs:
                    yield output
        finally:
            self._answering -= 1

    def _outputs(self, work: Work) -> AsyncGenerator[Output, None]:
        match work:
            case ChatWork():
                return self._answer("/api/chat", self._chat_json(work))
            case CompletionWork():
                return self._answer("/api/generate", self._generate_json(work))
            case EmbedWork():
                return self._embed(work)
            case CountWork(chat=chat):
                return count_by_answering(chat, self._outputs)
            case _:
                assert_never(work)

    def _answer(self, path: str, body: JsonObject) -> AsyncGenerator[Output, None]:
        return stream_answer(self.connection, path, body, OllamaReader(), prefix=b"")

    async def _embed(self, work: EmbedWork) -> AsyncGenerator[Output, None]:
        if work.tokens:
            raise Unsupported("an Ollama server takes texts to embed, not token ids")
        body: JsonObject = {**self._order(), "input": [*work.inputs], "truncate": work.truncate}
        if work.dimensions is not None:
            body["dimensions"] = work.dimensions
        answer = decode(await self.connection.post("/api/embed", body), _Embedded)
        vectors = tuple(tuple(vector) for vector in answer.embeddings)
        yield Vectors(vectors=vectors, usage=Usage(prompt_tokens=answer.prompt_eval_count))

    def _order(self, sampling: Sampling = Sampling()) -> JsonObject:  # noqa: B008 (frozen)
        # Another num_ctx than the one it was loaded with would make Ollama load it again.
        options: JsonObject = {"num_ctx": self.spec.context_tokens, **sampling_json(sampling)}
        if "max_tokens" in options:
            options["num_predict"] = options.pop("max_tokens")
        options.pop("logit_bias", None)
        order: JsonObject = {"model": self.spec.model, "keep_alive": _FOR_EVER, "options": options}
        if sampling.logprobs is not None:
            order |= {"logprobs": True, "top_logprobs": sampling.logprobs}
        return order

    def _chat_json(self, work: ChatWork) -> JsonObject:
        messages: list[JsonValue] = [message_json(message) for message in work.messages]
        body: JsonObject = {
            **self._order(work.sampling),
            "messages": messages,
            "stream": True,
            "truncate": work.truncate,
        }
        if work.tools:
            body["tools"] = list(work.tools)
        if work.format is not None:
            body["format"] = work.format
        if work.think is not None:
            body["think"] = work.think
        return body

    def _generate_json(self, work: CompletionWork) -> JsonObject:
        if work.tokens:
            raise Unsupported("an Ollama server takes a prompt as text, not token ids")
        body: JsonObject = {**self._order(work.sampling), "prompt": work.prompt, "raw": work.raw, "stream": True}
        if work.suffix:
            body |= {"suffix": work.suffix, "raw": False}  # Ollama refuses the two together
        if work.images:
            body["images"] = [base64.b64encode(image.data).decode() for image in work.images]
        if work.format is not None:
            body["format"] = work.format
        return body


def message_json(message: Message) -> JsonObject:
    json: JsonObject = {"role": message.role, "content": message.content}
    if message.images:
        json["images"] = [base64.b64encode(image.data).decode() for image in message.images]
    if message.thinking:
        json["thinking"] = message.thinking
    if message.tool_calls:
        json["tool_calls"] = [
            {"function": {"name": call.name, "arguments": arguments_of(call)}} for call in message.tool_calls
        ]
    if message.tool_name:
        json["tool_name"] = message.tool_name
    return json


def arguments_of(call: ToolCall) -> JsonValue:
    try:
        return msgspec.json.decode(call.arguments or "{}")
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"the arguments of tool call '{call.name}' are not JSON: {error}") from error


class _Function(msgspec.Struct, frozen=True):
    name: str = ""
    arguments: msgspec.Raw = msgspec.Raw(b"{}")


class _ToolCall(msgspec.Struct, frozen=True):
    function: _Function = _Function()
    id: str = ""


class _Message(msgspec.Struct, frozen=True):
    content: str = ""
    thinking: str = ""
    tool_calls: list[_ToolCall] = []


class _Line(msgspec.Struct):
    message: _Message = _Message()
    response: str = ""
    thinking: str = ""
    logprobs: list[LogprobJson] = []
    done: bool = False
    done_reason: str = ""
    prompt_eval_count: int = 0
    prompt_eval_duration: int = 0
    eval_count: int = 0
    eval_duration: int = 0
    error: str = ""


class _Embedded(msgspec.Struct):
    embeddings: list[list[float]]
    prompt_eval_count: int = 0


_decode_line = msgspec.json.Decoder(_Line).decode


class OllamaReader:
    """Reads the lines of one answer of /api/chat or /api/generate."""

    def __init__(self) -> None:
        self._last: _Line | None = None
        self._tool_calls = 0

    def read(self, data: bytes) -> Iterator[Output]:
        line = _decode_line(data)
        if line.error:
            raise error_of(500, data)
        message = line.message
        text = message.content or line.response
        thinking = message.thinking or line.thinking
        if text or thinking or message.tool_calls:
            calls = tuple(self._tool_call(call) for call in message.tool_calls)
            yield Delta(text=text, thinking=thinking, tool_calls=calls, logprobs=logprobs_of(line.logprobs))
        if line.done:
            self._last = line

    def _tool_call(self, call: _ToolCall) -> tuple[int, ToolCall]:
        index = self._tool_calls
        self._tool_calls += 1
        arguments = bytes(call.function.arguments).decode()
        return index, ToolCall(id=call.id or f"call_{index}", name=call.function.name, arguments=arguments)

    def done(self) -> Done:
        last = self._last
        if last is None:
            raise EngineCrashed("the Ollama server ended its answer in the middle")
        usage = Usage(
            prompt_tokens=last.prompt_eval_count,
            output_tokens=last.eval_count,
            prefill_s=last.prompt_eval_duration / 1e9,
            decode_s=last.eval_duration / 1e9,
        )
        return Done(finish_reason="tool_calls" if self._tool_calls else last.done_reason or "stop", usage=usage)
