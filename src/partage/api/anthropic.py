"""Anthropic's endpoints: /v1/messages and /v1/messages/count_tokens."""

from __future__ import annotations

import msgspec

from partage.api.admission import request_of
from partage.api.anthropic_answers import AnthropicFrames
from partage.api.anthropic_wire import (
    MessagesIn,
    format_of,
    messages_of,
    option_fields,
    pictures_of,
    think_of,
    tool_choice_of,
    tools_of,
)
from partage.api.decoding import decode
from partage.api.durations import keep_alive_s
from partage.api.exchange import Exchange
from partage.api.options import OPENAI_DEFAULTS, Options, options_of
from partage.api.pictures import fill_in
from partage.api.ports import ApiSettings, HubPort, Ticket
from partage.api.streaming import stream_answer, whole_answer
from partage.domain import Model
from partage.errors import InvalidRequest
from partage.work import ChatWork, CountWork, Sampling, Work

_messages = msgspec.json.Decoder(MessagesIn)


class AnthropicApi:
    def __init__(self, hub: HubPort, settings: ApiSettings) -> None:
        self._hub = hub
        self._settings = settings

    async def messages(self, exchange: Exchange) -> None:
        asked = decode(_messages, await exchange.read_body())
        if asked.max_tokens is None or asked.max_tokens < 1:
            raise InvalidRequest("max_tokens is required, and at least 1", field="max_tokens")
        model = self._hub.model(asked.model)
        if self._settings.fetch_images:
            await fill_in(exchange, pictures_of(asked))
        options = options_of(model, asked.options, OPENAI_DEFAULTS, fields=option_fields(asked))
        ticket = self._admit(exchange, asked, model, _chat_work(asked, model, options.sampling), options)
        frames = AnthropicFrames(exchange.id, asked.model)
        if asked.stream:
            await stream_answer(exchange, ticket, frames, self._settings.silence_s)
        else:
            await exchange.answer(frames.whole(await whole_answer(exchange, ticket)))

    async def count_tokens(self, exchange: Exchange) -> None:
        """Counted by the model's own tokenizer and template, so the model is loaded for it."""
        asked = decode(_messages, await exchange.read_body())
        model = self._hub.model(asked.model)
        options = options_of(model, asked.options, OPENAI_DEFAULTS)
        work = CountWork(chat=_chat_work(asked, model, Sampling()))
        answer = await whole_answer(exchange, self._admit(exchange, asked, model, work, options))
        await exchange.answer_json({"input_tokens": answer.usage.prompt_tokens})

    def _admit(self, exchange: Exchange, asked: MessagesIn, model: Model, work: Work, options: Options) -> Ticket:
        keep_s = keep_alive_s(asked.keep_alive)
        return self._hub.admit(
            request_of(exchange, model, work, keep_alive_s=keep_s, context_tokens=options.context_tokens)
        )


def _chat_work(asked: MessagesIn, model: Model, sampling: Sampling) -> ChatWork:
    return ChatWork(
        messages=messages_of(asked, model),
        sampling=sampling,
        tools=tools_of(asked.tools),
        tool_choice=tool_choice_of(asked.tool_choice),
        format=format_of(asked.output_config),
        think=think_of(asked, model),
    )
