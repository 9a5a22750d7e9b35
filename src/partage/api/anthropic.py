"""Anthropic's endpoint: /v1/messages."""

from __future__ import annotations

import msgspec

from partage.api.admission import request_of
from partage.api.anthropic_answers import AnthropicFrames
from partage.api.anthropic_wire import (
    MessagesIn,
    messages_of,
    option_fields,
    think_of,
    tool_choice_of,
    tools_of,
)
from partage.api.decoding import decode
from partage.api.durations import keep_alive_s
from partage.api.exchange import Exchange
from partage.api.options import OPENAI_DEFAULTS, options_of
from partage.api.ports import ApiSettings, HubPort
from partage.api.streaming import stream_answer, whole_answer
from partage.domain import ChatWork

_messages = msgspec.json.Decoder(MessagesIn)


class AnthropicApi:
    def __init__(self, hub: HubPort, settings: ApiSettings) -> None:
        self._hub = hub
        self._settings = settings

    async def messages(self, exchange: Exchange) -> None:
        asked = decode(_messages, await exchange.read_body())
        model = self._hub.model(asked.model)
        options = options_of(model, asked.options, OPENAI_DEFAULTS, fields=option_fields(asked))
        work = ChatWork(
            messages=messages_of(asked, model),
            sampling=options.sampling,
            tools=tools_of(asked.tools),
            tool_choice=tool_choice_of(asked.tool_choice),
            think=think_of(asked.thinking),
        )
        keep_s = keep_alive_s(asked.keep_alive)
        ticket = self._hub.admit(
            request_of(exchange, model, work, keep_alive_s=keep_s, context_tokens=options.context_tokens)
        )
        frames = AnthropicFrames(exchange.id, asked.model)
        if asked.stream:
            await stream_answer(exchange, ticket, frames, self._settings.silence_s)
        else:
            await exchange.answer(frames.whole(await whole_answer(exchange, ticket)))
