"""Work for a llama.cpp server, in its own dialect: progress while it reads the prompt, fixed grammars, token lists."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace
from typing import Literal, assert_never

import msgspec

from partage.engine.answers import ChatReader, CompletionReader, Reader, count_by_answering, stream_answer
from partage.engine.bodies import chat_json, sampling_json
from partage.engine.connection import Connection, decode
from partage.engine.forgetting import forgetting
from partage.engine.grammar import ANY_OBJECT, closed, compact_grammar
from partage.engine.vectors import decode_embeddings, shorten
from partage.errors import ContextTooLong
from partage.json_value import JsonObject, JsonValue
from partage.work import (
    ChatWork,
    CompletionWork,
    CountWork,
    Done,
    EmbedWork,
    Message,
    Output,
    Sampling,
    Usage,
    Vectors,
    Work,
)

EMBED_CHARACTERS_AT_ONCE = 8192
"""About two seconds of work on two slow cores: an embedding request cannot be cancelled once it is sent."""
EMBED_INPUTS_AT_ONCE = 32
CHARACTERS_PER_TOKEN = 4


class _Defaults(msgspec.Struct, frozen=True):
    n_ctx: int = 0


class Properties(msgspec.Struct, frozen=True):
    """What /props says of a loaded model."""

    default_generation_settings: _Defaults = _Defaults()
    total_slots: int = 1
    media_marker: str = "<__media__>"
    chat_template: str = ""

    @property
    def context_tokens(self) -> int:
        return self.default_generation_settings.n_ctx


class Upstream:
    """Streams work to one llama.cpp server. `strict_grammar`: the server was built with LLGuidance, as xllamacpp is."""

    def __init__(self, connection: Connection, *, strict_grammar: bool, longest_input_tokens: int = 512) -> None:
        self._connection = connection
        self.longest_input_tokens = longest_input_tokens
        self._strict_grammar = strict_grammar
        self.properties = Properties()

    async def read_properties(self) -> Properties:
        self.properties = decode(await self._connection.get("/props"), Properties)
        return self.properties

    def stream(self, work: Work) -> AsyncGenerator[Output, None]:
        match work:
            case ChatWork(truncate=True) | CompletionWork(truncate=True, suffix=""):
                return forgetting(work, lambda shorter: self.stream(replace(shorter, truncate=False)))
            case ChatWork():
                return self._chat(work)
            case CompletionWork(raw=False):
                message = Message(role="user", content=work.prompt, images=work.images)
                return self._chat(ChatWork(messages=(message,), sampling=work.sampling, format=work.format))
            case CompletionWork(suffix=""):
                return self._answer("/completion", self._completion_json(work), CompletionReader())
            case CompletionWork():
                return self._answer("/infill", self._completion_json(work), CompletionReader())
            case EmbedWork():
                return self._embed(work)
            case CountWork(chat=chat) if any(message.images for message in chat.messages):
                return count_by_answering(chat, self.stream)
            case CountWork(chat=chat):
                return self._count(chat)
            case _:
                assert_never(work)

    def _chat(self, work: ChatWork) -> AsyncGenerator[Output, None]:
        return self._answer("/v1/chat/completions", self._chat_json(work), ChatReader())

    def _answer(self, path: str, body: JsonObject, reader: Reader) -> AsyncGenerator[Output, None]:
        return stream_answer(self._connection, path, body, reader)

    def _chat_json(self, work: ChatWork) -> JsonObject:
        body = {**chat_json(work), **self._bounded(work.sampling)}
        body["return_progress"] = True  # also what makes it notice, while it reads the prompt, that nobody listens
        if work.sampling.stop:
            body["verbose"] = True  # the last chunk then says which of them it was
        match work.think:
            case None:
                pass
            case bool():
                body["chat_template_kwargs"] = {"enable_thinking": work.think}
            case str():
                body["chat_template_kwargs"] = {"enable_thinking": True, "reasoning_effort": work.think}
        if work.format is not None:
            body.update(self._format_json(work.format, thinks=self._may_think(work)))
        return body

    def _may_think(self, work: ChatWork) -> bool:
        """A grammar binds from the first token, a response_format only after the model's thinking."""
        return work.think is not False and "think" in self.properties.chat_template

    def _format_json(self, format_: JsonObject | Literal["json"], *, thinks: bool) -> JsonObject:
        schema = ANY_OBJECT if format_ == "json" else closed(format_)
        if self._strict_grammar and not thinks and (grammar := compact_grammar(schema)):
            return {"grammar": grammar}
        return {"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}}

    def _bounded(self, sampling: Sampling) -> JsonObject:
        """It refuses -1, which is the whole context to others, and takes memory for as many tokens as it is told."""
        context, asked = self.properties.context_tokens, sampling.repeat_last_n
        if asked is None:
            return {}
        return {"repeat_last_n": context if asked < 0 else min(asked, context)}

    def _completion_json(self, work: CompletionWork) -> JsonObject:
        body: JsonObject = {"stream": True, "return_progress": True, **sampling_json(work.sampling)}
        body |= self._bounded(work.sampling)
        if work.sampling.logprobs is not None:
            body["n_probs"] = max(1, work.sampling.logprobs)
        if work.format is not None:
            schema = ANY_OBJECT if work.format == "json" else closed(work.format)
            grammar = compact_grammar(schema) if self._strict_grammar else None
            body |= {"grammar": grammar} if grammar else {"json_schema": schema}
        if work.suffix:
            body |= {"input_prefix": work.prompt, "input_suffix": work.suffix}
        elif work.images:
            # A raw prompt that does not say where its pictures belong gets them first.
            marker = self.properties.media_marker
            prompt = work.prompt
            for number in range(len(work.images)):
                prompt = prompt.replace(f"[img-{number}]", marker)
            prompt = marker * (len(work.images) - prompt.count(marker)) + prompt
            pictures: list[JsonValue] = [base64.b64encode(image.data).decode() for image in work.images]
            body["prompt"] = {"prompt_string": prompt, "multimodal_data": pictures}
        else:
            body["prompt"] = list(work.tokens) or work.prompt
        return body

    async def _count(self, work: ChatWork) -> AsyncGenerator[Output, None]:
        answer = await self._connection.post("/apply-template", self._chat_json(work))
        tokens = await self._tokens(decode(answer, _Laid).prompt, parse_special=True)
        yield Done(finish_reason="count", usage=Usage(prompt_tokens=len(tokens)))

    async def _tokens(self, text: str, *, parse_special: bool = False) -> list[int]:
        body = {"content": text, "add_special": True, "parse_special": parse_special}
        return decode(await self._connection.post("/tokenize", body), _Tokens).tokens

    async def _embed(self, work: EmbedWork) -> AsyncGenerator[Output, None]:
        vectors: list[tuple[float, ...]] = []
        prompt_tokens = 0
        for group in grouped((*work.inputs, *work.tokens)):
            inputs = [await self._fitting(one, work) for one in group]
            body = {
                "input": inputs,
                "encoding_format": "base64",
                "embd_normalize": 2 if work.normalise else -1,
            }
            answer = await self._connection.post("/v1/embeddings", body)
            found, usage = decode_embeddings(answer, len(inputs))
            vectors += found
            prompt_tokens += usage.prompt_tokens
        if work.dimensions is not None:
            vectors = [shorten(vector, work.dimensions, normalise=work.normalise) for vector in vectors]
        yield Vectors(vectors=tuple(vectors), usage=Usage(prompt_tokens=prompt_tokens))

    async def _fitting(self, asked: str | tuple[int, ...], work: EmbedWork) -> str | list[int]:
        """Return the input, or its tokens cut to what the model takes at once (keeping the closing token)."""
        longest = min(self.longest_input_tokens, work.longest_tokens or self.longest_input_tokens)
        if isinstance(asked, str):
            if len(asked.encode()) + 2 <= longest:  # a token is a byte at least
                return asked
            tokens = await self._tokens(asked)
        else:
            tokens = list(asked)
        if len(tokens) <= longest:
            return asked if isinstance(asked, str) else tokens
        if not work.truncate:
            raise ContextTooLong(
                f"the input length exceeds maximum context length: {len(tokens)} tokens, not {longest}; shorten or split it"
            )
        return [*tokens[: longest - 1], tokens[-1]]


def grouped(inputs: tuple[str | tuple[int, ...], ...]) -> Iterator[list[str | tuple[int, ...]]]:
    group: list[str | tuple[int, ...]] = []
    characters = 0
    for one in inputs:
        length = len(one) if isinstance(one, str) else len(one) * CHARACTERS_PER_TOKEN
        if group and (characters + length > EMBED_CHARACTERS_AT_ONCE or len(group) == EMBED_INPUTS_AT_ONCE):
            yield group
            group, characters = [], 0
        group.append(one)
        characters += length
    if group:
        yield group


class _Laid(msgspec.Struct):
    prompt: str


class _Tokens(msgspec.Struct):
    tokens: list[int]
