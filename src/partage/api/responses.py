"""OpenAI's /v1/responses, without a memory: every request brings its whole conversation."""

from __future__ import annotations

import msgspec

from partage.api.admission import request_of
from partage.api.decoding import decode
from partage.api.durations import keep_alive_s
from partage.api.exchange import Exchange
from partage.api.options import OPENAI_DEFAULTS, options_of, top_logprobs_of
from partage.api.pictures import fill_in
from partage.api.ports import ApiSettings, HubPort
from partage.api.responses_answers import ResponsesFrames
from partage.api.responses_wire import (
    LOGPROBS,
    ResponsesIn,
    format_of,
    messages_of,
    option_fields,
    pictures_of,
    refuse_state,
    tool_choice_of,
    tools_of,
)
from partage.api.streaming import stream_answer, whole_answer
from partage.work import ChatWork

_responses = msgspec.json.Decoder(ResponsesIn)


class ResponsesApi:
    def __init__(self, hub: HubPort, settings: ApiSettings) -> None:
        self._hub = hub
        self._settings = settings

    async def respond(self, exchange: Exchange) -> None:
        asked = decode(_responses, await exchange.read_body())
        refuse_state(asked)
        model = self._hub.model(asked.model)
        if self._settings.fetch_images:
            await fill_in(exchange, pictures_of(asked))
        logprobs = top_logprobs_of(wanted=LOGPROBS in (asked.include or ()), top=asked.top_logprobs)
        options = options_of(model, asked.options, OPENAI_DEFAULTS, fields=option_fields(asked), logprobs=logprobs)
        effort = asked.reasoning.effort if asked.reasoning else None
        work = ChatWork(
            messages=messages_of(asked, model),
            sampling=options.sampling,
            tools=tools_of(asked.tools),
            tool_choice=tool_choice_of(asked.tool_choice),
            format=format_of(asked.text),
            think=False if effort == "none" else effort,
        )
        keep_s = keep_alive_s(asked.keep_alive)
        ticket = self._hub.admit(
            request_of(exchange, model, work, keep_alive_s=keep_s, context_tokens=options.context_tokens)
        )
        sampling = options.sampling
        frames = ResponsesFrames(exchange.id, asked, temperature=sampling.temperature, top_p=sampling.top_p)
        if asked.stream:
            await stream_answer(exchange, ticket, frames, self._settings.silence_s)
        else:
            await exchange.answer(frames.whole(await whole_answer(exchange, ticket)))
