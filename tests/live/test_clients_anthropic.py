"""Anthropic's own client (the version in the lock) against a live hub."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import anthropic
import pytest
from anthropic.types import MessageParam
from hub_process import running_hub

pytestmark = pytest.mark.live

MODEL = "smollm2:135m"
HELLO: list[MessageParam] = [{"role": "user", "content": "Say hello."}]
GREEDY = {"temperature": 0}


@pytest.fixture(scope="module")
def client(model_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[anthropic.Anthropic]:
    with (
        running_hub(tmp_path_factory.mktemp("hub"), model_home) as hub,
        anthropic.Anthropic(base_url=hub.url, api_key="any", max_retries=0) as client,
    ):
        yield client


def test_a_message_is_the_same_streamed_and_whole(client: anthropic.Anthropic):
    whole = client.messages.create(model=MODEL, max_tokens=6, messages=HELLO, extra_body=GREEDY)
    (block,) = whole.content
    assert block.type == "text"
    assert (whole.stop_reason, whole.usage.output_tokens) == ("max_tokens", 6)
    with client.messages.stream(model=MODEL, max_tokens=6, messages=HELLO, extra_body=GREEDY) as stream:
        assert "".join(stream.text_stream) == block.text
        assert stream.get_final_message().stop_reason == "max_tokens"


def test_tokens_are_counted_as_they_are_used(client: anthropic.Anthropic):
    counted = client.messages.count_tokens(model=MODEL, messages=HELLO, system="Be brief.").input_tokens
    usage = client.messages.create(model=MODEL, max_tokens=1, messages=HELLO, system="Be brief.").usage
    assert counted == usage.input_tokens + (usage.cache_read_input_tokens or 0)


def test_models_are_listed_as_anthropics_are(client: anthropic.Anthropic):
    found = {model.id: model for model in client.models.list()}
    assert set(found) == {MODEL, "all-minilm:22m"}
    one = client.models.retrieve(MODEL)
    assert one == found[MODEL]
    assert (one.type, one.display_name) == ("model", MODEL)
    assert one.created_at.year >= 2024


def test_an_unknown_model_is_its_own_error(client: anthropic.Anthropic):
    with pytest.raises(anthropic.NotFoundError, match="partage pull nope"):
        client.messages.create(model="nope", max_tokens=6, messages=HELLO)
