"""Frameworks against a live hub: langchain-ollama with the standard tests for LangChain's integrations, and LlamaIndex.

They get an environment of their own, kept in the directory for temporary files: their dependencies are many, and none of ours.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hub_process import running_hub

pytestmark = pytest.mark.live

PINNED = (
    "langchain-ollama==1.1.0",
    "langchain-core==1.7.2",
    "langchain-tests==1.1.9",
    "llama-index-llms-ollama==0.11.0",
    "pytest==9.2.0",
    "pytest-asyncio==1.5.0",
)
PATIENCE_S = 180
TESTS = """
import os

from langchain_ollama import ChatOllama, OllamaEmbeddings
from langchain_tests.integration_tests import ChatModelIntegrationTests, EmbeddingsIntegrationTests
from llama_index.core.llms import ChatMessage
from llama_index.llms.ollama import Ollama

URL, CHAT, EMBED = os.environ["HUB_URL"], "smollm2:135m", "all-minilm:22m"


class TestChat(ChatModelIntegrationTests):
    chat_model_class = ChatOllama
    # Left to itself so small a model repeats itself until its tokens run out.
    chat_model_params = {
        "model": CHAT, "base_url": URL, "num_predict": 60, "temperature": 0, "repeat_penalty": 1.4, "repeat_last_n": 128
    }
    model_override_value = CHAT
    # It cannot guess the keys that JSON without a schema should have.
    supports_json_mode = False
    structured_output_kwargs = {"method": "json_schema"}
    # It was not taught to call tools.
    has_tool_calling = has_tool_choice = False


class TestEmbeddings(EmbeddingsIntegrationTests):
    embeddings_class = OllamaEmbeddings
    embedding_model_params = {"model": EMBED, "base_url": URL}


def llama():
    return Ollama(model=CHAT, base_url=URL, request_timeout=120, additional_kwargs={"num_predict": 8, "temperature": 0})


def test_llama_index_completes_and_streams():
    whole = llama().complete("Say hello.").text
    assert whole
    assert "".join(part.delta for part in llama().stream_complete("Say hello.")) == whole
    messages = [ChatMessage(role="user", content="Say hello.")]
    said = llama().chat(messages).message.content
    assert "".join(part.delta or "" for part in llama().stream_chat(messages)) == said


async def test_llama_index_waits_without_blocking():
    assert (await llama().acomplete("Say hello.")).text
"""
REASONS_TO_SKIP = (
    "Test requires tool c",
    "Test requires json mode support",
    "Model does not support",
    "Model does not explicitly support Anthropic inputs",
    "VCR not set up",
)
"""What the tiny model cannot honestly do: call tools, guess the keys of JSON, see, hear; and a recording of a cloud."""


@pytest.fixture(scope="module")
def python() -> Path:
    """The interpreter of an environment that has them. Skips the test where they cannot be fetched."""
    version = hashlib.sha256("\n".join((sys.version, *PINNED)).encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir(), f"partage-test-clients-{os.getuid()}-{version}")
    python = folder / "bin" / "python"
    whole = folder / "whole"
    if whole.exists():
        return python
    pip = [python, "-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check", *PINNED]
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True, capture_output=True)
        subprocess.run(pip, check=True, capture_output=True, text=True, timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        pytest.skip(f"the clients could not be fetched within {PATIENCE_S} s")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"the clients cannot be fetched here: {str(error.stderr)[-200:]}")
    whole.touch()
    return python


@pytest.mark.timeout(700)
def test_langchains_standard_tests_and_llama_index_pass(python: Path, model_home: Path, tmp_path: Path):
    tests = tmp_path / "test_theirs.py"
    tests.write_text(TESTS)
    options = ("-q", "-rs", "--asyncio-mode=auto", "-p", "no:cacheprovider", "--rootdir", tmp_path, "-W", "ignore")
    with running_hub(tmp_path / "home", model_home) as hub:
        ran = subprocess.run(
            [python, "-m", "pytest", *options, tests],
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
            env={**os.environ, "HUB_URL": hub.url, "PYTHONPATH": ""},
        )
    assert ran.returncode == 0, ran.stdout[-4000:]
    passed = re.search(r"(\d+) passed", ran.stdout)
    assert passed is not None
    assert int(passed[1]) >= 30, ran.stdout[-4000:]
    skipped = re.findall(r"^SKIPPED .*?\.py:\d+: (.*)$", ran.stdout, re.MULTILINE)
    assert [reason for reason in skipped if not any(known in reason for known in REASONS_TO_SKIP)] == []
