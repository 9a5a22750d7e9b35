"""OpenAI's endpoints: /v1/chat/completions, completions, embeddings, models."""

from __future__ import annotations

from datetime import datetime

import msgspec

from partage.api.admission import request_of
from partage.api.decoding import decode
from partage.api.durations import keep_alive_s
from partage.api.exchange import Exchange
from partage.api.openai_answers import OpenAIFrames, embeddings
from partage.api.openai_wire import (
    ChatIn,
    CompletionIn,
    EmbeddingsIn,
    format_of,
    inputs_of,
    messages_of,
    option_fields,
    pictures_of,
    texts_of,
)
from partage.api.options import OPENAI_DEFAULTS, Options, options_of, top_logprobs_of
from partage.api.pictures import fill_in
from partage.api.ports import ApiSettings, HubPort
from partage.api.streaming import stream_answer, whole_answer
from partage.domain import Model
from partage.errors import InvalidRequest, Unsupported
from partage.json_value import JsonObject, JsonValue
from partage.work import ChatWork, CompletionWork, EmbedWork, Work

_chat = msgspec.json.Decoder(ChatIn)
_completion = msgspec.json.Decoder(CompletionIn)
_embeddings = msgspec.json.Decoder(EmbeddingsIn)


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
            logit_bias=asked.logit_bias,
        )
        work = ChatWork(
            messages=messages_of(asked.messages, model),
            sampling=options.sampling,
            tools=tuple(asked.tools or ()),
            tool_choice=asked.tool_choice,
            format=format_of(asked.response_format),
            think=asked.think,
        )
        frames = OpenAIFrames("chat", exchange.id, asked.model, includes_usage=asked.includes_usage)
        await self._generation(exchange, asked, model, work, options, frames)

    async def completion(self, exchange: Exchange) -> None:
        asked = decode(_completion, await exchange.read_body())
        model = self._hub.model(asked.model)
        options = options_of(
            model,
            asked.options,
            OPENAI_DEFAULTS,
            fields=option_fields(asked, asked.max_tokens),
            logprobs=top_logprobs_of(wanted=asked.logprobs is not None, top=asked.logprobs, field="logprobs"),
            logit_bias=asked.logit_bias,
        )
        work = CompletionWork(
            prompt=_prompt(asked),
            sampling=options.sampling,
            suffix=asked.suffix or "",
            format=format_of(asked.response_format),
        )
        frames = OpenAIFrames("text", exchange.id, asked.model, includes_usage=asked.includes_usage)
        await self._generation(exchange, asked, model, work, options, frames)

    async def _generation(
        self,
        exchange: Exchange,
        asked: ChatIn | CompletionIn,
        model: Model,
        work: Work,
        options: Options,
        frames: OpenAIFrames,
    ) -> None:
        keep_s = keep_alive_s(asked.keep_alive)
        ticket = self._hub.admit(
            request_of(exchange, model, work, keep_alive_s=keep_s, context_tokens=options.context_tokens)
        )
        if asked.stream:
            await stream_answer(exchange, ticket, frames, self._settings.silence_s)
        else:
            await exchange.answer(frames.whole(await whole_answer(exchange, ticket)))

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
    texts, tokens = inputs_of(asked.input)
    if not all(tokens):
        raise InvalidRequest("input: an empty list of tokens has no embedding", field="input")
    known = model.anatomy.vocab_tokens
    if any(not 0 <= one < known for ids in tokens for one in ids) and known:
        raise InvalidRequest(
            f"input: a token id is outside this model's vocabulary ({known}); ids of another tokenizer mean nothing here, "
            "send the text itself (in LangChain: check_embedding_ctx_length=False)",
            field="input",
        )
    return EmbedWork(inputs=texts, tokens=tokens, dimensions=asked.dimensions)


def _model(model: Model) -> JsonObject:
    """In OpenAI's words and in Anthropic's: their clients ask the same path."""
    created = int(datetime.fromisoformat(model.modified_at).timestamp()) if model.modified_at else 0
    openai: JsonObject = {"id": model.name, "object": "model", "created": created, "owned_by": "library"}
    return openai | {"type": "model", "display_name": model.name, "created_at": model.modified_at}


def _prompt(asked: CompletionIn) -> str:
    if asked.echo:
        raise Unsupported("echo: the prompt is not repeated; put it before the answer yourself")
    if asked.best_of is not None and asked.best_of != 1:
        raise Unsupported("best_of: only 1 answer is drawn")
    prompts = texts_of(asked.prompt or "", "prompt")
    if len(prompts) != 1:
        raise Unsupported("prompt: one per request; send a request for each")
    return prompts[0]
