"""Other people's tests of their clients, against a live hub: langchain-ollama's standard ones, llama-index-llms-ollama.

    python -m bench.clients [--venv DIR]

Builds an environment of its own for them (about a minute; --venv keeps it for the next time). What the tiny model cannot
honestly satisfy is left out, and listed with the reason.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path

from bench.live_hub import CHAT, EMBED, live_hub

PINNED = (
    "langchain-ollama==1.1.0",
    "langchain-core==1.7.2",
    "langchain-tests==1.1.9",
    "llama-index-llms-ollama==0.11.0",
    "pytest==9.2.0",
    "pytest-asyncio==1.5.0",
)
TESTS = f"""
import os
import pytest
from langchain_ollama import ChatOllama, OllamaEmbeddings
from langchain_tests.integration_tests import ChatModelIntegrationTests, EmbeddingsIntegrationTests

URL = os.environ["HUB_URL"]
CHAT, EMBED = {CHAT!r}, {EMBED!r}


class TestChat(ChatModelIntegrationTests):
    chat_model_class = ChatOllama
    chat_model_params = {{"model": CHAT, "base_url": URL, "num_predict": 200, "temperature": 0}}
    # Left to itself so small a model repeats itself until its tokens run out.
    chat_model_params |= {{"repeat_penalty": 1.4, "repeat_last_n": 128}}
    model_override_value = CHAT
    has_tool_choice = False
    # It cannot guess the keys that JSON without a schema should have.
    supports_json_mode = False
    structured_output_kwargs = {{"method": "json_schema"}}
    # The model has 135 million parameters and was not taught to call tools.
    has_tool_calling = False


class TestEmbeddings(EmbeddingsIntegrationTests):
    embeddings_class = OllamaEmbeddings
    embedding_model_params = {{"model": EMBED, "base_url": URL}}


def llama():
    from llama_index.llms.ollama import Ollama

    return Ollama(model=CHAT, base_url=URL, request_timeout=120, additional_kwargs={{"num_predict": 8, "temperature": 0}})


def test_llama_index_completes_and_streams():
    from llama_index.core.llms import ChatMessage

    whole = llama().complete("Say hello.").text
    assert whole
    assert "".join(part.delta for part in llama().stream_complete("Say hello.")) == whole
    messages = [ChatMessage(role="user", content="Say hello.")]
    said = llama().chat(messages).message.content
    assert "".join(part.delta or "" for part in llama().stream_chat(messages)) == said


async def test_llama_index_waits_without_blocking():
    assert (await llama().acomplete("Say hello.")).text
"""


async def run(*command: str | Path, **environment: str) -> int:
    process = await asyncio.create_subprocess_exec(*map(str, command), env={**os.environ, **environment})
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()


async def try_clients(folder: Path) -> int:
    python = folder / "bin" / "python"
    if not python.exists():
        await run(sys.executable, "-m", "venv", folder)
        if await run(python, "-m", "pip", "install", "--quiet", *PINNED):
            print("skipped: the clients cannot be fetched here")
            return 0
    tests = folder / "test_clients.py"
    tests.write_text(TESTS)
    async with live_hub(f"models: {{'{CHAT}': {{context: 4096}}}}") as hub:
        options = ("-q", "-rs", "--asyncio-mode=auto", "-p", "no:cacheprovider", "--rootdir", folder)
        return await run(python, "-m", "pytest", *options, tests, HUB_URL=hub.url, PYTHONPATH="")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--venv", type=Path)
    kept = arguments.parse_args().venv
    with tempfile.TemporaryDirectory(prefix="partage-clients-") as temporary:
        if asyncio.run(try_clients(kept or Path(temporary))):
            raise SystemExit(1)


if __name__ == "__main__":
    main()
