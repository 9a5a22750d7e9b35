"""A model with a vision projector answers about pictures in all three dialects, from the store to the answer."""

from __future__ import annotations

import base64
import io
from collections.abc import Generator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import ollama
import openai
import pytest
from hub_process import HubProcess, running_hub
from PIL import Image as Picture
from tiny_projector import write_projector

from partage.models.store import Store

pytestmark = pytest.mark.live

MODEL = "seer:latest"
PATCHES = 16
"""(56/14)^2 of the tiny projector's."""
BROKEN = b"\x89PNG\r\n\x1a\n no picture"


@pytest.fixture(scope="module")
def hub(model_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[HubProcess]:
    home = tmp_path_factory.mktemp("seeing")
    projector = home / "mmproj.gguf"
    write_projector(projector, text_width=576)
    text = Store(model_home).get("smollm2:135m")
    Store(home).add_file(MODEL, Path(text.path), projector=projector)
    with running_hub(home, model_home) as running:
        yield running


@pytest.fixture(scope="module")
def png() -> bytes:
    file = io.BytesIO()
    Picture.new("RGB", (80, 60), "red").save(file, "PNG")
    return file.getvalue()


def test_the_ollama_client_asks_about_a_picture(hub: HubProcess, png: bytes):
    with ollama.Client(hub.url, timeout=120) as client:
        assert "vision" in (client.show(MODEL).capabilities or [])
        question = {"role": "user", "content": "What is on it?", "images": [png]}
        answer = client.chat(MODEL, [question], options={"num_predict": 4})
        blind = client.chat(MODEL, [{"role": "user", "content": "What is on it?"}], options={"num_predict": 4})
        assert (answer.prompt_eval_count or 0) >= (blind.prompt_eval_count or 0) + PATCHES
        assert client.generate(MODEL, "What is on it?", images=[png], options={"num_predict": 4}).eval_count
        with pytest.raises(ollama.ResponseError) as refused:
            client.generate(MODEL, "What is on it?", images=[BROKEN])
        assert refused.value.status_code == 400


def test_the_openai_client_asks_about_a_picture(hub: HubProcess, png: bytes):
    def asked(data: bytes) -> list[Any]:
        url = "data:image/png;base64," + base64.b64encode(data).decode()
        parts = [{"type": "text", "text": "What is on it?"}, {"type": "image_url", "image_url": {"url": url}}]
        return [{"role": "user", "content": parts}]

    with openai.OpenAI(base_url=f"{hub.url}/v1", api_key="any", max_retries=0) as client:
        answer = client.chat.completions.create(model=MODEL, messages=asked(png), max_tokens=4)
        assert answer.usage is not None
        assert answer.usage.prompt_tokens > PATCHES
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(model=MODEL, messages=asked(BROKEN), max_tokens=4)


def test_the_anthropic_client_asks_about_a_picture(hub: HubProcess, png: bytes):
    def asked(data: bytes) -> list[Any]:
        source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(data).decode()}
        return [{"role": "user", "content": [{"type": "image", "source": source}, {"type": "text", "text": "What?"}]}]

    with anthropic.Anthropic(base_url=hub.url, api_key="any", max_retries=0) as client:
        answer = client.messages.create(model=MODEL, messages=asked(png), max_tokens=4)
        counted = client.messages.count_tokens(model=MODEL, messages=asked(png))
        usage = answer.usage
        assert counted.input_tokens == usage.input_tokens + (usage.cache_read_input_tokens or 0) > PATCHES
        with pytest.raises(anthropic.BadRequestError):
            client.messages.create(model=MODEL, messages=asked(BROKEN), max_tokens=4)


def test_a_broken_picture_does_not_harm_the_engine(hub: HubProcess, png: bytes):
    (engine,) = hub.status()["residents"]
    body = {"model": MODEL, "prompt": "x", "images": [base64.b64encode(BROKEN).decode()], "stream": False}
    assert httpx.post(f"{hub.url}/api/generate", json=body, timeout=60).status_code == 400
    (after,) = hub.status()["residents"]
    assert (after["pid"], after["serving"]) == (engine["pid"], 0)
