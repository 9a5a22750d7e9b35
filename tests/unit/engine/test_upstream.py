from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from partage.engine.upstream import EMBED_CHARACTERS_AT_ONCE, EMBED_INPUTS_AT_ONCE, Upstream, grouped
from partage.work import ChatWork, CompletionWork, Done, Message, Sampling, Work

HELLO = (Message(role="user", content="hello"),)


class LlamaServer:
    """A connection to one with a context of 4096 tokens, which keeps what it was asked and ends every answer at once."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []

    async def get(self, path: str) -> bytes:
        return b'{"default_generation_settings": {"n_ctx": 4096}}'

    async def post(self, path: str, body: object) -> bytes:
        raise AssertionError(path)

    async def lines(self, path: str, body: object) -> AsyncGenerator[list[bytes], None]:
        self.bodies.append(body)
        last = b'{"stop": true, "stop_type": "word", "stopping_word": "END"}'
        if path == "/v1/chat/completions":
            last = b'{"choices": [{"finish_reason": "stop"}], "__verbose": {"stopping_word": "END"}}'
        yield [b"data: " + last]


async def asked(work: Work) -> tuple[dict[str, Any], Done]:
    server = LlamaServer()
    upstream = Upstream(server, strict_grammar=True)
    await upstream.read_properties()
    (done,) = [output async for output in upstream.stream(work)]
    assert isinstance(done, Done)
    return server.bodies[0], done


def test_embedding_inputs_go_in_groups_that_are_soon_done():
    texts = ("x" * 5000,) * 5 + ("y",) * 100
    groups = list(grouped(texts))
    assert tuple(text for group in groups for text in group) == texts
    assert all(len(group) <= EMBED_INPUTS_AT_ONCE for group in groups)
    assert all(len(group) == 1 or sum(map(len, group)) <= EMBED_CHARACTERS_AT_ONCE for group in groups)


def test_no_inputs_make_no_groups():
    assert list(grouped(())) == []


@pytest.mark.parametrize(("wanted", "sent"), [(-1, 4096), (64, 64), (2**31 - 1, 4096)])
async def test_penalties_look_back_no_farther_than_the_context(wanted: int, sent: int):
    sampling = Sampling(repeat_last_n=wanted)
    for work in (ChatWork(messages=HELLO, sampling=sampling), CompletionWork(prompt="hello", sampling=sampling)):
        body, _ = await asked(work)
        assert body["repeat_last_n"] == sent


async def test_the_stop_that_ended_it_is_asked_for_where_there_are_any():
    body, done = await asked(ChatWork(messages=HELLO, sampling=Sampling(stop=("END",))))
    assert (body["verbose"], done.stop) == (True, "END")
    body, _ = await asked(ChatWork(messages=HELLO))
    assert "verbose" not in body
    _, done = await asked(CompletionWork(prompt="hello"))
    assert done.stop == "END"


async def test_a_prompt_of_tokens_goes_as_they_are():
    body, _ = await asked(CompletionWork(prompt="", tokens=(1, 2, 3)))
    assert body["prompt"] == [1, 2, 3]
