"""OpenAI's endpoints: /v1/chat/completions, completions, embeddings, models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

import msgspec

from partage.api.admission import request_of
from partage.api.decoding import decode
from partage.api.durations import keep_alive_s
from partage.api.exchange import Exchange
from partage.api.openai_answers import Kind, OpenAIFrames, embeddings
from partage.api.openai_wire import (
    ChatIn,
    CompletionIn,
    EmbeddingsIn,
    bias_of,
    format_of,
    inputs_of,
    messages_of,
    option_fields,
    pictures_of,
)
from partage.api.options import OPENAI_DEFAULTS, Options, options_of, top_logprobs_of
from partage.api.pictures import fill_in
from partage.api.ports import ApiSettings, HubPort
from partage.api.streaming import stream_answer, whole_answer
from partage.domain import Model, RequestId
from partage.errors import InvalidRequest, Unsupported
from partage.json_value import JsonObject, JsonValue
from partage.work import ChatWork, CompletionWork, EmbedWork, Sampling, Work

_chat = msgspec.json.Decoder(ChatIn)
_completion = msgspec.json.Decoder(CompletionIn)
_embeddings = msgspec.json.Decoder(EmbeddingsIn)

MOST_ANSWERS = 64
"""In one request: each waits for the one before it."""


class OpenAIApi:
    def __init__(self, hub: HubPort, settings: ApiSettings) -> None:
        self._hub = hub
        self._settings = settings

    async def chat(self, exchange: Exchange) -> None:
        asked = decode(_chat, await exchange.read_body())
        if asked.functions:
            raise Unsupported("functions: this was replaced by tools; send tools")
        model = self._hub.model(asked.model)
        if self._settings.fetch_images:
            await fill_in(exchange, pictures_of(asked.messages))
        logprobs = top_logprobs_of(wanted=asked.logprobs, top=asked.top_logprobs)
        options = options_of(
            model,
            asked.options,
            OPENAI_DEFAULTS,
            fields=option_fields(asked, asked.max_completion_tokens or asked.max_tokens),
            logprobs=logprobs,
            logit_bias=bias_of(asked.logit_bias, model),
        )
        work = ChatWork(
            messages=messages_of(asked.messages, model),
            sampling=options.sampling,
            tools=tuple(asked.tools or ()),
            tool_choice=asked.tool_choice,
            format=format_of(asked.response_format),
            think=asked.think,
        )
        await self._generation(exchange, asked, model, [work], options, "chat")

    async def completion(self, exchange: Exchange) -> None:
        asked = decode(_completion, await exchange.read_body())
        model = self._hub.model(asked.model)
        options = options_of(
            model,
            asked.options,
            OPENAI_DEFAULTS,
            fields=option_fields(asked, asked.max_tokens),
            logprobs=top_logprobs_of(wanted=asked.logprobs is not None, top=asked.logprobs, field="logprobs"),
            logit_bias=bias_of(asked.logit_bias, model),
        )
        await self._generation(exchange, asked, model, _completions(asked, model, options.sampling), options, "text")

    async def _generation(
        self,
        exchange: Exchange,
        asked: ChatIn | CompletionIn,
        model: Model,
        works: Sequence[ChatWork | CompletionWork],
        options: Options,
        kind: Kind,
    ) -> None:
        """Several answers are requests of their own, one after another: nobody's turn is any longer for them."""
        keep_s, n = keep_alive_s(asked.keep_alive), 1 if asked.n is None else asked.n
        requests = [
            replace(
                request_of(exchange, model, work, keep_alive_s=keep_s, context_tokens=options.context_tokens), id=id_
            )
            for id_, work in _numbered(exchange.id, _times(works, n))
        ]
        includes_usage = asked.includes_usage
        frames = OpenAIFrames(kind, exchange.id, asked.model, includes_usage=includes_usage, answers=len(requests), n=n)
        if asked.stream:
            for request in requests:
                ticket, last = self._hub.admit(request), request is requests[-1]
                await stream_answer(exchange, ticket, frames, self._settings.silence_s, last=last)
        else:
            answers = [await whole_answer(exchange, self._hub.admit(request)) for request in requests]
            await exchange.answer(frames.whole(*answers))

    async def embeddings(self, exchange: Exchange) -> None:
        asked = decode(_embeddings, await exchange.read_body())
        encoding = (asked.encoding_format or "float").lower()
        if encoding not in {"float", "base64"}:
            raise InvalidRequest('encoding_format must be "float" or "base64"', field="encoding_format")
        if asked.dimensions is not None and asked.dimensions < 1:
            raise InvalidRequest("dimensions must be at least 1", field="dimensions")
        model = self._hub.model(asked.model)
        options = options_of(model, asked.options, OPENAI_DEFAULTS)
        request = request_of(
            exchange,
            model,
            _embed_work(asked, model),
            keep_alive_s=keep_alive_s(asked.keep_alive),
            context_tokens=options.context_tokens,
        )
        answer = await whole_answer(exchange, self._hub.admit(request))
        await exchange.answer(embeddings(answer, asked.model, as_base64=encoding == "base64"))

    async def models(self, exchange: Exchange) -> None:
        models: list[JsonValue] = [_model(model) for model in self._hub.models()]
        await exchange.answer_json({"object": "list", "data": models, "has_more": False})

    async def model(self, exchange: Exchange) -> None:
        asked = exchange.path_parameter("model")
        await exchange.answer_json(_model(self._hub.model(asked)) | {"id": asked})


def _embed_work(asked: EmbeddingsIn, model: Model) -> EmbedWork:
    texts, tokens = inputs_of(asked.input, "input", model)
    return EmbedWork(inputs=texts, tokens=tokens, dimensions=asked.dimensions)


def _model(model: Model) -> JsonObject:
    """In OpenAI's words and in Anthropic's: their clients ask the same path."""
    created = int(datetime.fromisoformat(model.modified_at).timestamp()) if model.modified_at else 0
    openai: JsonObject = {"id": model.name, "object": "model", "created": created, "owned_by": "library"}
    return openai | {"type": "model", "display_name": model.name, "created_at": model.modified_at}


def _completions(asked: CompletionIn, model: Model, sampling: Sampling) -> list[CompletionWork]:
    if asked.echo:
        raise Unsupported("echo: the prompt is not repeated; put it before the answer yourself")
    if asked.best_of is not None and asked.best_of != (asked.n or 1):
        raise Unsupported("best_of: every answer that is drawn is given back; ask for as many as n")
    texts, tokens = inputs_of("" if asked.prompt is None else asked.prompt, "prompt", model)
    if tokens and asked.suffix:
        raise Unsupported("suffix: it goes with a prompt as text, not with token ids")
    format_ = format_of(asked.response_format)
    return [
        CompletionWork(prompt=text, tokens=ids, sampling=sampling, suffix=asked.suffix or "", format=format_)
        for text, ids in (*((text, ()) for text in texts), *(("", ids) for ids in tokens))
    ]


def _times(works: Sequence[ChatWork | CompletionWork], n: int) -> list[ChatWork | CompletionWork]:
    """Each so many times, with a seed of its own where one was given. Raises InvalidRequest."""
    if not 1 <= n <= MOST_ANSWERS or len(works) * n > MOST_ANSWERS:
        raise InvalidRequest(f"n: from 1 to {MOST_ANSWERS} answers can be asked for at once, of all prompts", field="n")
    return [_seeded(work, number) for work in works for number in range(n)]


def _seeded(work: ChatWork | CompletionWork, number: int) -> ChatWork | CompletionWork:
    seed = work.sampling.seed
    return work if seed is None else replace(work, sampling=replace(work.sampling, seed=seed + number))


def _numbered(id_: RequestId, works: Sequence[Work]) -> Iterator[tuple[RequestId, Work]]:
    for number, work in enumerate(works):
        yield f"{id_}.{number}" if number else id_, work
