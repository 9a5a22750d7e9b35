"""A model on an OpenAI-compatible server (vLLM, LiteLLM, llama-server, ...) that somebody else runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import assert_never

import msgspec

from partage.engine.adopted import Adopted, Held
from partage.engine.answers import ChatReader, count_by_answering, stream_answer
from partage.engine.bodies import chat_json, sampling_json
from partage.engine.connection import decode
from partage.engine.vectors import decode_embeddings, shorten
from partage.errors import EngineStartFailed, Unsupported
from partage.json_value import JsonObject, JsonValue
from partage.work import (
    ChatWork,
    CompletionWork,
    CountWork,
    Done,
    EmbedWork,
    Message,
    Output,
    OutputFormat,
    Usage,
    Vectors,
    Work,
)


class _ModelName(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_ModelName]


class OpenAIRemote(Adopted):
    """It has no progress events and no timings: prompt and answer times are taken here, to the first piece and from it."""

    async def load(self) -> Held:
        answer = decode(await self.connection.get("/v1/models"), _Models)
        names = [model.id for model in answer.data]
        if self.spec.model not in names:
            raise EngineStartFailed(f"the server has no model of this name; it has {', '.join(names) or 'none'}")
        return Held()

    async def unload(self) -> None:
        """Nothing to ask for: such a server keeps its models."""

    def stream(self, work: Work) -> AsyncGenerator[Output, None]:
        match work:
            case ChatWork():
                return self._answer("/v1/chat/completions", self._chat_json(work))
            case CompletionWork(raw=False):
                message = Message(role="user", content=work.prompt, images=work.images)
                chat = ChatWork(messages=(message,), sampling=work.sampling, format=work.format)
                return self._answer("/v1/chat/completions", self._chat_json(chat))
            case CompletionWork():
                return self._answer("/v1/completions", self._completion_json(work))
            case EmbedWork():
                return self._embed(work)
            case CountWork(chat=chat):
                return count_by_answering(chat, self.stream)
            case _:
                assert_never(work)

    async def _answer(self, path: str, body: JsonObject) -> AsyncGenerator[Output, None]:
        began_s = self.clock.now_s()
        first_s: float | None = None
        async with aclosing(stream_answer(self.connection, path, body, ChatReader())) as outputs:
            async for output in outputs:
                now_s = self.clock.now_s()
                if isinstance(output, Done):
                    usage = replace(
                        output.usage, prefill_s=(first_s or now_s) - began_s, decode_s=now_s - (first_s or now_s)
                    )
                    yield replace(output, usage=usage)
                else:
                    first_s = first_s or now_s
                    yield output

    def _chat_json(self, work: ChatWork) -> JsonObject:
        body: JsonObject = {"model": self.spec.model, **chat_json(work), **format_json(work.format)}
        match work.think:
            case None:
                pass
            case bool():
                body["chat_template_kwargs"] = {"enable_thinking": work.think}
            case str():
                body["reasoning_effort"] = work.think
        return body

    def _completion_json(self, work: CompletionWork) -> JsonObject:
        if work.images:
            raise Unsupported("an OpenAI-compatible server takes images in chat only")
        body: JsonObject = {
            "model": self.spec.model,
            "prompt": list(work.tokens) or work.prompt,
            "stream": True,
            "stream_options": {"include_usage": True},
            **sampling_json(work.sampling),
            **format_json(work.format),
        }
        if work.suffix:
            body["suffix"] = work.suffix
        return body

    async def _embed(self, work: EmbedWork) -> AsyncGenerator[Output, None]:
        inputs: list[JsonValue] = [*work.inputs, *(list(one) for one in work.tokens)]
        body: JsonObject = {"model": self.spec.model, "input": inputs, "encoding_format": "float"}
        vectors, usage = decode_embeddings(await self.connection.post("/v1/embeddings", body), len(inputs))
        if work.dimensions is not None:
            vectors = [shorten(vector, work.dimensions, normalise=work.normalise) for vector in vectors]
        yield Vectors(vectors=tuple(vectors), usage=Usage(prompt_tokens=usage.prompt_tokens))


def format_json(format_: OutputFormat) -> JsonObject:
    match format_:
        case None:
            return {}
        case "json":
            return {"response_format": {"type": "json_object"}}
        case schema:
            named: JsonObject = {"name": "answer", "schema": schema, "strict": True}
            return {"response_format": {"type": "json_schema", "json_schema": named}}
