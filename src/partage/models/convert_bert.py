"""Makes a GGUF from a sentence-transformers BERT: safetensors, tokenizer and configuration in one folder.

The result is what llama.cpp expects of architecture "bert": norms, biases, position and type embeddings stay F32,
matrices get the type asked for, WordPiece tokens are written the other way round ("##ing" -> "ing", "run" -> "▁run").
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, TypeVar

import gguf
import msgspec
import numpy as np

from partage.errors import ModelFileError
from partage.models.safetensors import Safetensors

_LARGEST_JSON_BYTES = 32 << 20
_TYPES = {
    "F32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
    "F16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    "Q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
}
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

_EMBEDDINGS = {
    "embeddings.word_embeddings.weight": "token_embd.weight",
    "embeddings.token_type_embeddings.weight": "token_types.weight",
    "embeddings.position_embeddings.weight": "position_embd.weight",
    "embeddings.LayerNorm.weight": "token_embd_norm.weight",
    "embeddings.LayerNorm.bias": "token_embd_norm.bias",
}
_IN_LAYER = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
_KEPT_F32 = frozenset({"embeddings.token_type_embeddings.weight", "embeddings.position_embeddings.weight"})
_T = TypeVar("_T")

_Size = Annotated[int, msgspec.Meta(gt=0, le=1 << 24)]
_Layers = Annotated[int, msgspec.Meta(gt=0, le=256)]


class _Config(msgspec.Struct, frozen=True):
    model_type: str
    hidden_size: _Size
    intermediate_size: _Size
    num_hidden_layers: _Layers
    num_attention_heads: _Size
    max_position_embeddings: _Size
    layer_norm_eps: float
    vocab_size: _Size
    type_vocab_size: _Size = 2


class _WordPiece(msgspec.Struct, frozen=True):
    vocab: dict[str, int]


class _Tokenizer(msgspec.Struct, frozen=True):
    model: _WordPiece


class _Pooling(msgspec.Struct, frozen=True):
    pooling_mode_cls_token: bool = False
    pooling_mode_mean_tokens: bool = True


def convert_bert(folder: Path, target: Path, *, to: str, name: str) -> None:
    """Convert config.json, tokenizer.json, pooling.json and model.safetensors of a folder.

    Raises ModelFileError, OSError.
    """
    config = _read(folder / "config.json", _Config)
    if config.model_type != "bert":
        raise ModelFileError(f"{folder / 'config.json'}: model type {config.model_type!r} is not supported; bert is")
    tokens = _tokens(folder / "tokenizer.json", config.vocab_size)
    pooling = _read(folder / "pooling.json", _Pooling)
    tensors = Safetensors(folder / "model.safetensors")
    shapes = _expected(config)
    for source, shape in shapes.items():
        if tensors.shapes().get(source) != shape:
            raise ModelFileError(f"{folder}: tensor {source!r} of shape {shape} is missing or has another shape")

    writer = gguf.GGUFWriter(target, "bert")
    writer.add_name(name)
    writer.add_file_type(_TYPES[to][1])
    _add_metadata(writer, config, pooling, tokens)
    for source, shape in shapes.items():
        add_tensor_info(writer, _gguf_name(source), shape, _type_of(source, shape, to))
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for source, shape in shapes.items():
            writer.write_tensor_data(gguf.quants.quantize(tensors.read(source), _type_of(source, shape, to)))
    finally:
        writer.close()


def add_tensor_info(
    writer: gguf.GGUFWriter, name: str, shape: tuple[int, ...], type_: gguf.GGMLQuantizationType
) -> None:
    """Announce a tensor before its data is there, so that one at a time is in memory. The shape is in numpy's order."""
    dtype = np.dtype({"F32": np.float32, "F16": np.float16}.get(type_.name, np.uint8))
    stored = gguf.quant_shape_to_byte_shape(shape, type_) if dtype == np.uint8 else shape
    writer.add_tensor_info(name, stored, dtype, math.prod(stored) * dtype.itemsize, raw_dtype=type_)


def _expected(config: _Config) -> dict[str, tuple[int, ...]]:
    """Every tensor of the encoder, by its name in the safetensors file. The pooler is not used."""
    width, inner = config.hidden_size, config.intermediate_size
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (config.vocab_size, width),
        "embeddings.token_type_embeddings.weight": (config.type_vocab_size, width),
        "embeddings.position_embeddings.weight": (config.max_position_embeddings, width),
        "embeddings.LayerNorm.weight": (width,),
        "embeddings.LayerNorm.bias": (width,),
    }
    matrices = {"intermediate.dense": (inner, width), "output.dense": (width, inner)}
    for layer in range(config.num_hidden_layers):
        for part in _IN_LAYER:
            weight = (width,) if part.endswith("LayerNorm") else matrices.get(part, (width, width))
            shapes[f"encoder.layer.{layer}.{part}.weight"] = weight
            shapes[f"encoder.layer.{layer}.{part}.bias"] = weight[:1]
    return shapes


def _gguf_name(source: str) -> str:
    if source in _EMBEDDINGS:
        return _EMBEDDINGS[source]
    layer, rest = source.removeprefix("encoder.layer.").split(".", 1)
    part, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{_IN_LAYER[part]}.{kind}"


def _type_of(source: str, shape: tuple[int, ...], to: str) -> gguf.GGMLQuantizationType:
    kept = len(shape) == 1 or source in _KEPT_F32
    return gguf.GGMLQuantizationType.F32 if kept else _TYPES[to][0]


def _tokens(path: Path, vocab_size: int) -> list[str]:
    """The vocabulary in the order of its numbers, which must have no gap."""
    vocab = _read(path, _Tokenizer).model.vocab
    tokens = sorted(vocab, key=vocab.__getitem__)
    if [vocab[token] for token in tokens] != [*range(vocab_size)]:
        raise ModelFileError(f"{path}: the vocabulary is not numbered from 0 to {vocab_size - 1}")
    if missing := [token for token in _SPECIAL if token not in vocab]:
        raise ModelFileError(f"{path}: the vocabulary lacks {', '.join(missing)}")
    return tokens


def _spelled(token: str) -> str:
    if token in _SPECIAL:
        return token
    return token[2:] if token.startswith("##") else f"\u2581{token}"


def _token_type(token: str) -> gguf.TokenType:
    if token == "[UNK]":  # noqa: S105
        return gguf.TokenType.UNKNOWN
    return gguf.TokenType.CONTROL if token in _SPECIAL else gguf.TokenType.NORMAL


def _add_metadata(writer: gguf.GGUFWriter, config: _Config, pooling: _Pooling, tokens: list[str]) -> None:
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_layer_norm_eps(config.layer_norm_eps)
    writer.add_causal_attention(value=False)
    writer.add_pooling_type(gguf.PoolingType.CLS if pooling.pooling_mode_cls_token else gguf.PoolingType.MEAN)
    writer.add_token_type_count(config.type_vocab_size)
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("jina-v2-en")  # WordPiece ignores it, but llama.cpp warns where it is missing
    writer.add_token_list([_spelled(token) for token in tokens])
    writer.add_token_types([_token_type(token) for token in tokens])
    ids = {token: tokens.index(token) for token in _SPECIAL}
    writer.add_bos_token_id(ids["[CLS]"])
    writer.add_eos_token_id(ids["[SEP]"])
    writer.add_sep_token_id(ids["[SEP]"])
    writer.add_unk_token_id(ids["[UNK]"])
    writer.add_pad_token_id(ids["[PAD]"])
    writer.add_mask_token_id(ids["[MASK]"])
    writer.add_add_bos_token(value=True)
    writer.add_add_eos_token(value=True)


def _read(path: Path, type_: type[_T]) -> _T:
    with path.open("rb") as file:
        data = file.read(_LARGEST_JSON_BYTES)
    try:
        return msgspec.json.decode(data, type=type_)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ModelFileError(f"{path}: {error}") from error
