from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

_KINDS: dict[str, int] = {"u32": 4, "f32": 6, "bool": 7, "str": 8, "u64": 10, "i32": 5}
_FORMS = {"u32": "<I", "f32": "<f", "bool": "<?", "u64": "<Q", "i32": "<i"}
TINY: Mapping[str, tuple[str, object]] = {
    "general.architecture": ("str", "llama"),
    "general.file_type": ("u32", 0),
    "general.license": ("str", "apache-2.0"),
    "llama.block_count": ("u32", 2),
    "llama.context_length": ("u32", 512),
    "llama.embedding_length": ("u32", 8),
    "llama.feed_forward_length": ("u32", 16),
    "llama.attention.head_count": ("u32", 2),
    "llama.attention.head_count_kv": ("[u32]", [1, 2]),
    "tokenizer.ggml.tokens": ("[str]", ["a", "b", "c"]),
    "tokenizer.chat_template": ("str", "{{ messages }} {{ tools }}"),
}


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def _value(kind: str, value: object) -> bytes:
    if kind.startswith("["):
        assert isinstance(value, Sequence)
        element = kind.strip("[]")
        body = b"".join(_plain(element, each) for each in value)
        return struct.pack("<IIQ", 9, _KINDS[element], len(value)) + body
    return struct.pack("<I", _KINDS[kind]) + _plain(kind, value)


def _plain(kind: str, value: object) -> bytes:
    return text(str(value)) if kind == "str" else struct.pack(_FORMS[kind], value)


def gguf_bytes(
    metadata: Mapping[str, tuple[str, object]] = TINY,
    tensors: Sequence[tuple[str, Sequence[int], int, int]] = (("token_embd.weight", (8, 3), 0, 0),),
    data_bytes: int = 96,
) -> bytes:
    """A GGUF written independently of the reader. Tensors: name, shape, type number, offset."""
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    for key, (kind, value) in metadata.items():
        out += text(key) + _value(kind, value)
    for name, shape, kind, offset in tensors:
        out += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
    return out + bytes(-len(out) % 32) + bytes(data_bytes)
