"""How the Ollama library names models: which sizes a family has, and what a tag cannot look like."""

from __future__ import annotations

import re

SIZES = {
    "llama2": ("7b", "13b", "70b"),
    "llama3": ("8b", "70b"),
    "llama3.1": ("8b", "70b", "405b"),
    "llama3.2": ("1b", "3b"),
    "llama3.2-vision": ("11b", "90b"),
    "llama3.3": ("70b",),
    "llava": ("7b", "13b", "34b"),
    "llava-llama3": ("8b",),
    "bakllava": ("7b",),
    "codellama": ("7b", "13b", "34b", "70b"),
    "mistral": ("7b",),
    "mistral-nemo": ("12b",),
    "mixtral": ("8x7b", "8x22b"),
    "gemma": ("2b", "7b"),
    "gemma2": ("2b", "9b", "27b"),
    "gemma3": ("270m", "1b", "4b", "12b", "27b"),
    "qwen2": ("0.5b", "1.5b", "7b", "72b"),
    "qwen2.5": ("0.5b", "1.5b", "3b", "7b", "14b", "32b", "72b"),
    "qwen2.5-coder": ("0.5b", "1.5b", "3b", "7b", "14b", "32b"),
    "qwen3": ("0.6b", "1.7b", "4b", "8b", "14b", "30b", "32b", "235b"),
    "phi3": ("3.8b", "14b"),
    "phi4": ("14b",),
    "deepseek-r1": ("1.5b", "7b", "8b", "14b", "32b", "70b", "671b"),
    "tinyllama": ("1.1b",),
    "smollm2": ("135m", "360m", "1.7b"),
    "all-minilm": ("22m", "33m"),
    "mxbai-embed-large": ("335m",),
    "bge-m3": ("567m",),
    "nomic-embed-text": ("137m",),
}
"""Families whose list of sizes is closed: a new size appears under a new name."""

_NO_TAG = re.compile(
    r"(?:^|-)(?:(?:int-?)?\d+-?bits?|int-?[48]|gguf|gptq|awq|bnb|nf4|exl2|quantized|quantised)$", re.IGNORECASE
)
_SIZE = re.compile(r"(\d+x)?\d+(?:\.\d+)?[bm](?=$|-)", re.IGNORECASE)


def what_is_wrong_with_tag(name: str, tag: str) -> str:
    """One clause, or "" where nothing certain can be said: names outside the list are not judged."""
    sizes = SIZES.get(name)
    if sizes is None or not tag:
        return ""
    if _NO_TAG.search(tag):
        return f"the library names quantisations as in {sizes[0]}-instruct-q4_K_M, not {tag!r}"
    size = _SIZE.match(tag)
    if size and size[0].lower() not in sizes:
        return f"{name} comes in {', '.join(sizes)}"
    return ""
