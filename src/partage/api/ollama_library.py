"""Ollama's endpoints that bring models here, make them and send them away: /api/pull, push, create, copy, blobs."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from partage.api.decoding import decode
from partage.api.exchange import Exchange
from partage.api.ollama_wire import CopyIn, CreateIn, PullIn
from partage.api.ports import ApiSettings, HubPort
from partage.api.streaming import NDJSON, Silence, while_present, write
from partage.errors import InvalidRequest, NotFound, Unsupported
from partage.json_value import JsonObject
from partage.models.create import Recipe, recipe_of
from partage.models.modelfile import parse
from partage.models.progress import PullProgress

_pull = msgspec.json.Decoder(PullIn)
_create = msgspec.json.Decoder(CreateIn)
_copy = msgspec.json.Decoder(CopyIn)


class OllamaLibraryApi:
    def __init__(self, hub: HubPort, settings: ApiSettings) -> None:
        self._hub = hub
        self._settings = settings

    async def pull(self, exchange: Exchange) -> None:
        asked = decode(_pull, await exchange.read_body())
        await self._tell(exchange, asked, self._hub.pull(asked.model_name, insecure=asked.insecure is True))

    async def push(self, exchange: Exchange) -> None:
        asked = decode(_pull, await exchange.read_body())
        await self._tell(exchange, asked, self._hub.push(asked.model_name, insecure=asked.insecure is True))

    async def create(self, exchange: Exchange) -> None:
        asked = decode(_create, await exchange.read_body())
        await self._tell(exchange, asked, self._hub.create(asked.model_name, _recipe(asked)))

    async def copy(self, exchange: Exchange) -> None:
        asked = decode(_copy, await exchange.read_body())
        async with while_present(exchange):
            await self._hub.copy(asked.source, asked.destination)
        await exchange.answer(b"")

    async def has_blob(self, exchange: Exchange) -> None:
        digest = exchange.path_parameter("digest")
        if not self._hub.has_blob(digest):
            raise NotFound(f"there is no blob {digest[:80]}")
        await exchange.answer(b"")

    async def receive_blob(self, exchange: Exchange) -> None:
        """Take a file of any size in; the disk is its only limit."""
        digest = exchange.path_parameter("digest")
        announced = exchange.header(b"content-length")
        size_bytes = int(announced) if announced and announced.isdecimal() else None
        if self._hub.has_blob(digest):
            await exchange.answer(b"")
            return
        async with aclosing(exchange.body_chunks()) as chunks:
            await self._hub.receive_blob(digest, chunks, size_bytes)
        await exchange.answer(b"", status=201)

    async def _tell(
        self, exchange: Exchange, asked: PullIn | CreateIn, steps: AsyncGenerator[PullProgress, None]
    ) -> None:
        """Each step as a line, or all of them as one answer; an error before the first line keeps its status."""
        streams = asked.stream is not False
        # White space before the next line, as in answers: a step can be silent for long while it verifies or converts.
        silence = Silence(self._settings.silence_s, NDJSON, lambda: b" ") if streams else None
        async with while_present(exchange, silence), aclosing(steps):
            async for step in steps:
                if streams:
                    await write(exchange, NDJSON, _line(_progress(step)))
        success: JsonObject = {"status": "success"}
        if exchange.started:
            await exchange.finish(_line(success))
        else:
            await exchange.answer_json(success)


def _recipe(asked: CreateIn) -> Recipe:
    """Raises InvalidRequest, Unsupported."""
    if asked.adapters:
        raise Unsupported("adapters: adapters (LoRA) are not supported; use a model it is merged into")
    quantise = asked.quantize or asked.quantization or ""
    if asked.modelfile:
        return recipe_of(parse(asked.modelfile), None, quantise=quantise)
    if asked.path:
        raise InvalidRequest("path: files of this machine are not read for clients; send the Modelfile as `modelfile`")
    if not asked.from_ and not asked.files:
        raise InvalidRequest("from: name a model, or files, to make it of", field="from")
    licence = asked.license
    return Recipe(
        base=asked.from_ or "",
        digests=tuple((asked.files or {}).values()),
        parameters=asked.parameters or {},
        system=asked.system,
        template=asked.template,
        licence="\n\n".join(licence) if isinstance(licence, list) else licence,
        messages=None if asked.messages is None else tuple((one.role, one.content or "") for one in asked.messages),
        quantise=quantise,
    )


def _line(value: JsonObject) -> bytes:
    return msgspec.json.encode(value) + b"\n"


def _progress(step: PullProgress) -> JsonObject:
    line: JsonObject = {"status": step.status}
    if step.digest:
        line["digest"] = step.digest
    if step.total_bytes is not None:
        line["total"] = step.total_bytes
        line["completed"] = step.completed_bytes or 0
    return line
