"""Ollama's model endpoints: /api/tags, show, ps, pull, delete, version, status."""

from __future__ import annotations

import math

import msgspec

from partage.api.decoding import decode
from partage.api.durations import rfc3339_in
from partage.api.exchange import Exchange
from partage.api.ollama_wire import DeleteIn, ShowIn
from partage.api.ports import ApiSettings, HubPort
from partage.domain import Capability, Model, TensorFacts
from partage.json_value import JsonObject, JsonValue

_show = msgspec.json.Decoder(ShowIn)
_delete = msgspec.json.Decoder(DeleteIn)

FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 32: "BF16",
}  # fmt: skip
"""general.file_type of a GGUF -> the name people know. Source: llama.cpp's llama_ftype."""


class OllamaModelsApi:
    def __init__(self, hub: HubPort, settings: ApiSettings) -> None:
        self._hub = hub
        self._settings = settings

    async def alive(self, exchange: Exchange) -> None:
        await exchange.answer(b"Ollama is running", content_type=b"text/plain; charset=utf-8")

    async def version(self, exchange: Exchange) -> None:
        await exchange.answer_json({"version": self._settings.ollama_version, "partage": self._settings.version})

    async def cloud_status(self, exchange: Exchange) -> None:
        await exchange.answer_json({"cloud": {"disabled": True, "source": "config"}})

    async def tags(self, exchange: Exchange) -> None:
        newest_first = sorted(self._hub.models(), key=lambda model: model.modified_at, reverse=True)
        await exchange.answer_json({"models": [_tag(model) for model in newest_first]})

    async def show(self, exchange: Exchange) -> None:
        asked = decode(_show, await exchange.read_body())
        model = self._hub.model(asked.model_name)
        body: JsonObject = {
            "license": model.licence,
            "modelfile": _modelfile(model),
            "parameters": "\n".join(f"{name:<30} {value}" for name, value in _parameters(model)),
            "template": model.template,
            "system": model.system,
            "details": _details(model),
            "model_info": _model_info(model),
            "capabilities": capabilities_of(model),
            "modified_at": model.modified_at,
        }
        if model.messages:
            body["messages"] = [{"role": message.role, "content": message.content} for message in model.messages]
        if model.projector is not None:
            body["projector_info"] = dict(model.projector.metadata)
        if asked.verbose:
            body["tensors"] = [_tensor(tensor) for tensor in model.anatomy.tensors]
        await exchange.answer_json(body)

    async def ps(self, exchange: Exchange) -> None:
        longest_first = sorted(
            self._hub.residents(), key=lambda resident: resident.expires_in_s or float("inf"), reverse=True
        )
        models: list[JsonValue] = [
            {
                **_tag(resident.model),
                "size": resident.size_bytes,
                "size_vram": resident.device_bytes,
                "context_length": resident.context_tokens,
                "expires_at": rfc3339_in(resident.expires_in_s),
                "state": resident.state,
            }
            for resident in longest_first
        ]
        await exchange.answer_json({"models": models})

    async def delete(self, exchange: Exchange) -> None:
        asked = decode(_delete, await exchange.read_body())
        await self._hub.delete(self._hub.model(asked.model_name).name)
        await exchange.answer(b"")


def _tag(model: Model) -> JsonObject:
    return {
        "name": model.name,
        "model": model.name,
        "modified_at": model.modified_at,
        "size": model.size_bytes,
        "digest": model.digest.removeprefix("sha256:"),
        "details": _details(model),
        "capabilities": capabilities_of(model),
    }


def capabilities_of(model: Model) -> list[JsonValue]:
    """As Ollama counts them: chat is no capability of its own there."""
    return [capability.value for capability in Capability if capability in model.capabilities - {Capability.CHAT}]


def _details(model: Model) -> JsonObject:
    family = model.anatomy.architecture
    families: list[JsonValue] = [family]
    if model.projector is not None:
        families.append(model.projector.architecture)
    return {
        "parent_model": "",
        "format": "gguf",
        "family": family,
        "families": families,
        "parameter_size": parameter_size(parameter_count(model)),
        "quantization_level": _quantization_level(model),
        "context_length": model.anatomy.context_train_tokens,
        "embedding_length": model.anatomy.embedding_length,
    }


def parameter_count(model: Model) -> int:
    return sum(math.prod(tensor.shape) for tensor in model.anatomy.tensors)


def parameter_size(count: int) -> str:
    """As Ollama writes it: "8.0B", "134.52M"."""
    if count >= 1_000_000_000:
        return f"{count / 1e9:.1f}B"
    if count >= 1_000_000:
        return f"{count / 1e6:.2f}M"
    return f"{count / 1e3:.0f}K" if count >= 1_000 else str(count)


def _quantization_level(model: Model) -> str:
    file_type = model.anatomy.metadata.get("general.file_type")
    if isinstance(file_type, int) and file_type in FILE_TYPES:
        return FILE_TYPES[file_type]
    bytes_of: dict[str, int] = {}
    for tensor in model.anatomy.tensors:
        bytes_of[tensor.type] = bytes_of.get(tensor.type, 0) + tensor.size_bytes
    return max(bytes_of, key=lambda type_: bytes_of[type_], default="unknown")


def _model_info(model: Model) -> JsonObject:
    named: JsonObject = {"general.basename": model.name.rpartition("/")[2].partition(":")[0]}  # what VS Code shows
    return named | {**model.anatomy.metadata, "general.parameter_count": parameter_count(model)}


def _tensor(tensor: TensorFacts) -> JsonObject:
    return {"name": tensor.name, "type": tensor.type, "shape": list(tensor.shape)}


def _parameters(model: Model) -> list[tuple[str, str]]:
    """Name and value, as in a Modelfile; a name with several values comes several times."""
    pairs: list[tuple[str, str]] = []
    for name, value in sorted(model.parameters.items()):
        pairs += [(name, _literal(one)) for one in (value if isinstance(value, list) else [value])]
    return pairs


def _literal(value: JsonValue) -> str:
    return msgspec.json.encode(value).decode()


def _modelfile(model: Model) -> str:
    lines = [f"FROM {model.path}"]
    if model.template:
        lines.append(f'TEMPLATE """{model.template}"""')
    if model.system:
        lines.append(f'SYSTEM """{model.system}"""')
    lines += [f"PARAMETER {name} {value}" for name, value in _parameters(model)]
    lines += [f'MESSAGE {message.role} """{message.content}"""' for message in model.messages]
    return "\n".join(lines) + "\n"
