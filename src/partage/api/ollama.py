"""Ollama's inference endpoints: /api/chat, generate, embed, embeddings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import msgspec

from partage.api.admission import can_chat, request_of
from partage.api.conversation import opened_by
from partage.api.decoding import decode
from partage.api.durations import keep_alive_s, nanoseconds
from partage.api.exchange import Exchange
from partage.api.images import image_of
from partage.api.memory import recall
from partage.api.ollama_answers import OllamaFrames
from partage.api.ollama_wire import (
    ChatIn,
    EmbeddingsIn,
    EmbedIn,
    GenerateIn,
    format_of,
    messages_of,
)
from partage.api.options import OLLAMA_DEFAULTS, options_of, top_logprobs_of
from partage.api.ports import ApiSettings, HubPort
from partage.api.streaming import Answer, stream_answer, whole_answer
from partage.domain import Model
from partage.errors import InvalidRequest, Unsupported
from partage.models.templates import laid_out
from partage.work import ChatWork, CompletionWork, EmbedWork, Message, Sampling, Work

_chat = msgspec.json.Decoder(ChatIn)
_generate = msgspec.json.Decoder(GenerateIn)
_embed = msgspec.json.Decoder(EmbedIn)
_embeddings = msgspec.json.Decoder(EmbeddingsIn)


class OllamaApi:
    def __init__(self, hub: HubPort, settings: ApiSettings) -> None:
        self._hub = hub
        self._settings = settings

    async def chat(self, exchange: Exchange) -> None:
        asked = decode(_chat, await exchange.read_body())
        await self._generation(exchange, asked, OllamaFrames(asked.model_name, chat=True))

    async def generate(self, exchange: Exchange) -> None:
        asked = decode(_generate, await exchange.read_body())
        await self._generation(exchange, asked, OllamaFrames(asked.model_name, chat=False))

    async def _generation(self, exchange: Exchange, asked: ChatIn | GenerateIn, frames: OllamaFrames) -> None:
        model = self._hub.model(asked.model_name)
        keep_s = keep_alive_s(asked.keep_alive)
        logprobs = top_logprobs_of(wanted=asked.logprobs, top=asked.top_logprobs)
        options = options_of(model, asked.options, OLLAMA_DEFAULTS, logprobs=logprobs)
        work = _work(asked, model, options.sampling)
        # 1. Nothing to say, nothing to keep: unload.
        if work is None and keep_s == 0:
            await self._hub.unload(model.name)
            await exchange.answer(frames.bare("unload"))
            return
        request = request_of(exchange, model, work, keep_alive_s=keep_s, context_tokens=options.context_tokens)
        if isinstance(asked, GenerateIn) and isinstance(work, ChatWork):
            frames.remember(work.messages)
        ticket = self._hub.admit(request)
        # 2. Nothing to say: load.
        if work is None:
            await whole_answer(exchange, ticket)
            await exchange.answer(frames.bare("load"))
        # 3. Streamed, unless told not to.
        elif asked.stream is not False:
            await stream_answer(exchange, ticket, frames, self._settings.silence_s)
        # 4. Whole.
        else:
            await exchange.answer(frames.whole(await whole_answer(exchange, ticket)))

    async def embed(self, exchange: Exchange) -> None:
        asked = decode(_embed, await exchange.read_body())
        inputs = [asked.input] if isinstance(asked.input, str) and asked.input else asked.input or []
        work = EmbedWork(
            inputs=tuple(inputs), truncate=asked.truncate is not False, dimensions=max(0, asked.dimensions or 0) or None
        )
        answer = await self._embedding(exchange, asked, work)
        await exchange.answer_json(
            {
                "model": asked.model_name,
                "embeddings": answer.vectors,
                "total_duration": nanoseconds(answer.timing.total_s),
                "load_duration": nanoseconds(answer.timing.load_s),
                "prompt_eval_count": answer.usage.prompt_tokens,
            }
        )

    async def embeddings(self, exchange: Exchange) -> None:
        """The older endpoint: one prompt, one vector, not normalised."""
        asked = decode(_embeddings, await exchange.read_body())
        work = EmbedWork(inputs=(asked.prompt,) if asked.prompt else (), normalise=False)
        answer = await self._embedding(exchange, asked, work)
        await exchange.answer_json({"embedding": answer.vectors[0] if answer.vectors else []})

    async def _embedding(self, exchange: Exchange, asked: EmbedIn | EmbeddingsIn, work: EmbedWork) -> Answer:
        model = self._hub.model(asked.model_name)
        tokens = options_of(model, asked.options, OLLAMA_DEFAULTS).context_tokens
        request = request_of(
            exchange,
            model,
            replace(work, longest_tokens=tokens) if work.inputs else None,
            keep_alive_s=keep_alive_s(asked.keep_alive),
            context_tokens=tokens,
        )
        return await whole_answer(exchange, self._hub.admit(request))


def _work(asked: ChatIn | GenerateIn, model: Model, sampling: Sampling) -> Work | None:
    """None: the model is only to be loaded, or unloaded."""
    if isinstance(asked, ChatIn):
        return _chat_work(asked, model, sampling)
    return _generate_work(asked, model, sampling)


def _chat_work(asked: ChatIn, model: Model, sampling: Sampling) -> ChatWork | None:
    if not asked.messages:
        return None
    return ChatWork(
        messages=messages_of(asked.messages, model),
        sampling=sampling,
        tools=tuple(asked.tools or ()),
        format=format_of(asked.format),
        think=asked.think,
        truncate=asked.truncate is not False,
    )


def _generate_work(asked: GenerateIn, model: Model, sampling: Sampling) -> Work | None:
    """A prompt is the one user message of a chat, unless it is raw, has a suffix, or the model cannot chat."""
    if asked.raw and (asked.template or asked.system or asked.context):
        raise InvalidRequest("raw mode does not support template, system, or context")
    if not asked.prompt and not asked.images and not asked.suffix:
        return None
    prompt = asked.prompt or ""
    images = tuple(image_of(data, f"images[{index}]") for index, data in enumerate(asked.images or ()))
    format_ = format_of(asked.format)
    truncate = asked.truncate is not False
    no_chat = asked.raw or asked.suffix or not can_chat(model)
    if no_chat and (asked.context or asked.template):
        raise Unsupported("template, context: they make a conversation, which suffix and this model have not")
    messages = () if no_chat else (*_before(asked, model), Message(role="user", content=prompt, images=images))
    if no_chat or asked.template:
        return CompletionWork(
            prompt=_filled(asked.template, messages) if asked.template else prompt,
            sampling=sampling,
            images=images,
            suffix=asked.suffix or "",
            format=format_,
            truncate=truncate,
        )
    return ChatWork(messages=messages, sampling=sampling, format=format_, think=asked.think, truncate=truncate)


def _filled(template: str, messages: Iterable[Message]) -> str:
    """An engine lays prompts out by the one template it was started with; another one is filled in here."""
    prompt = laid_out(template, [(message.role, message.content) for message in messages])
    if prompt is None:
        raise Unsupported(
            "template: only .System, .Prompt, .Response, if and else are filled in per request; make a model of "
            "a template with loops or functions by /api/create, or lay the prompt out yourself with raw"
        )
    return prompt


def _before(asked: GenerateIn, model: Model) -> tuple[Message, ...]:
    """What leads the prompt: the conversation that `context` remembers, else the system prompt and the model's messages."""
    system = () if asked.system is None else (Message(role="system", content=asked.system),)
    if not asked.context:
        return opened_by(model, system)
    remembered = recall(asked.context)
    return (*system, *(one for one in remembered if one.role != "system")) if system else remembered
