"""The official clients against a real server (uvicorn, uvloop, httptools) whose hub is a fake one."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

import ollama
import openai
import pytest
import uvicorn
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from partage.api.app import create_app
from partage.api.fake_hub import FakeHub, Serve, echo
from partage.api.ports import ApiSettings
from partage.domain import Client, Request
from partage.errors import EngineCrashed, QuotaExceeded
from partage.models.progress import PullProgress
from partage.work import ChatWork, Delta, Done, Output, PromptProgress, TokenLogprob, ToolCall, Usage, Vectors

pytestmark = pytest.mark.live

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 8
PNG_URL = "data:image/png;base64," + base64.b64encode(PNG).decode()


class Server:
    """One server for all tests; each has a hub and an application of its own in it."""

    def __init__(self) -> None:
        self.renew()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(
            self._answer, interface="asgi3", loop="uvloop", http="httptools", log_level="warning", lifespan="off"
        )
        self._uvicorn = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._uvicorn.run, kwargs={"sockets": [self._listener]})

    def renew(self) -> None:
        self.hub = FakeHub()
        self._app = create_app(self.hub, ApiSettings(version="test", silence_s=0.2))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    def start(self) -> None:
        self._thread.start()
        wait_until(lambda: self._uvicorn.started)

    def stop(self) -> None:
        self._uvicorn.should_exit = True
        self._thread.join()
        self._listener.close()


def wait_until(condition: Callable[[], bool], limit_s: float = 10.0) -> float:
    began_s = time.monotonic()
    while not condition():
        assert time.monotonic() - began_s < limit_s
        time.sleep(0.002)
    return time.monotonic() - began_s


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    server = Server()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def server(running: Server) -> Server:
    running.renew()
    return running


@pytest.fixture
def their_ollama(server: Server) -> Iterator[ollama.Client]:
    with ollama.Client(server.url) as client:
        yield client


@pytest.fixture
def their_openai(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
        yield client


def scripted(*outputs: Output | Exception, pause_s: float = 0.0) -> Serve:
    async def serve(request: Request) -> AsyncGenerator[Output, None]:
        await asyncio.sleep(pause_s)
        for output in outputs:
            if isinstance(output, Exception):
                raise output
            yield output

    return serve


END = Done(finish_reason="stop", usage=Usage(prompt_tokens=3, output_tokens=2))
CALL = Delta(tool_calls=((0, ToolCall(id="c1", name="weather", arguments='{"city":"Graz"}')),))


def weather(city: str) -> str:
    """The weather in a city.

    Args:
      city: its name
    """
    return f"fine in {city}"


def test_ollama_chats(their_ollama: ollama.Client):
    answer = their_ollama.chat("chatty", messages=[{"role": "user", "content": "one two"}])
    assert (answer.message.content, answer.done_reason, answer.eval_count) == ("one two", "stop", 2)
    parts = list(their_ollama.chat("chatty", messages=[{"role": "user", "content": "one two"}], stream=True))
    assert [part.message.content for part in parts] == ["one", " two", ""]
    assert parts[-1].total_duration == 2_000_000_000


def test_ollama_generates(server: Server, their_ollama: ollama.Client):
    assert their_ollama.generate("chatty", "a b", system="be kind", options={"seed": 1}).response == "a b"
    assert [part.response for part in their_ollama.generate("coder", "a b", raw=True, stream=True)] == ["a", " b", ""]
    assert their_ollama.generate("chatty", "", keep_alive="1h").done_reason == "load"
    assert their_ollama.generate("chatty", "", keep_alive=0).done_reason == "unload"
    assert server.hub.unloaded == ["chatty:latest"]


def test_ollama_embeds(their_ollama: ollama.Client):
    assert their_ollama.embed("embedder", ["a", "bb"]).embeddings == [[1.0, 0.5, -0.25], [2.0, 0.5, -0.25]]
    assert their_ollama.embeddings("embedder", "abc").embedding == [3.0, 0.5, -0.25]


def test_ollama_calls_tools(server: Server, their_ollama: ollama.Client):
    server.hub.serve = scripted(CALL, END)
    question: list[dict[str, Any]] = [{"role": "user", "content": "how is Graz?"}]
    answer = their_ollama.chat("chatty", messages=question, tools=[weather])
    (call,) = answer.message.tool_calls or []
    assert (call.function.name, call.function.arguments) == ("weather", {"city": "Graz"})
    server.hub.serve = echo
    result = {"role": "tool", "content": weather(**call.function.arguments), "tool_name": "weather"}
    assert their_ollama.chat("chatty", messages=[*question, answer.message, result]).message.content == "fine in Graz"
    work = server.hub.requests[-1].work
    assert isinstance(work, ChatWork)
    assert work.messages[1].tool_calls[0].arguments == '{"city":"Graz"}'


class Person(BaseModel):
    name: str


def test_ollama_asks_for_formats_thoughts_pictures_and_log_probabilities(server: Server, their_ollama: ollama.Client):
    token = TokenLogprob(token="x", logprob=-0.5, top=(("y", -1.0),))
    server.hub.serve = scripted(Delta(thinking="hm"), Delta(text="x", logprobs=(token,)), END)
    answer = their_ollama.chat(
        "chatty",
        messages=[{"role": "user", "content": "who?"}],
        format=Person.model_json_schema(),
        think=True,
        logprobs=True,
        top_logprobs=1,
    )
    assert (answer.message.thinking, answer.message.content) == ("hm", "x")
    assert answer.logprobs is not None
    assert answer.logprobs[0].logprob == -0.5
    work = server.hub.requests[-1].work
    assert isinstance(work, ChatWork)
    assert work.format == Person.model_json_schema()
    their_ollama.chat("seer", messages=[{"role": "user", "content": "what?", "images": [PNG]}])
    work = server.hub.requests[-1].work
    assert isinstance(work, ChatWork)
    assert work.messages[0].images[0].data == PNG


def test_ollama_manages_models(server: Server, their_ollama: ollama.Client):
    assert their_ollama.list().models[0].model == "chatty:latest"
    assert [model.size_vram for model in their_ollama.ps().models] == [4000, 0]
    assert their_ollama.show("chatty").capabilities == ["completion", "tools", "thinking"]
    server.hub.pull_steps = [PullProgress(status="pulling x", digest="sha256:x", total_bytes=9, completed_bytes=4)]
    first, last = their_ollama.pull("new", stream=True)
    assert (first.total, first.completed, last.status) == (9, 4, "success")
    assert their_ollama.pull("new").status == "success"
    assert their_ollama.delete("chatty").status == "success"


def test_ollama_understands_our_errors(server: Server, their_ollama: ollama.Client):
    with pytest.raises(ollama.ResponseError, match="partage pull nope") as raised:
        their_ollama.chat("nope")
    assert raised.value.status_code == 404
    server.hub.serve = scripted(Delta(text="we"), EngineCrashed("it ended"))
    with pytest.raises(ollama.ResponseError, match="it ended"):
        list(their_ollama.chat("chatty", messages=[{"role": "user", "content": "x"}], stream=True))


def test_ollama_waits_through_silence(server: Server, their_ollama: ollama.Client):
    server.hub.serve = scripted(Delta(text="late"), END, pause_s=0.7)
    parts = list(their_ollama.chat("chatty", messages=[{"role": "user", "content": "x"}], stream=True))
    assert [part.message.content for part in parts] == ["late", ""]


QUESTION: list[Any] = [{"role": "user", "content": "one two"}]


def test_openai_chats(their_openai: openai.OpenAI):
    answer = their_openai.chat.completions.create(model="chatty", messages=QUESTION, max_completion_tokens=9)
    assert answer.choices[0].message.content == "one two"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 9
    assert answer.id == f"chatcmpl-{answer._request_id}"
    chunks = list(
        their_openai.chat.completions.create(
            model="chatty", messages=QUESTION, stream=True, stream_options={"include_usage": True}
        )
    )
    assert [chunk.choices[0].delta.content for chunk in chunks[:-1]] == ["one", " two", None]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 2


def test_openai_completes_and_embeds(their_openai: openai.OpenAI):
    assert their_openai.completions.create(model="coder", prompt="a b").choices[0].text == "a b"
    texts = [
        chunk.choices[0].text for chunk in their_openai.completions.create(model="coder", prompt="a b", stream=True)
    ]
    assert texts == ["a", " b", ""]
    for encoding in ("float", "base64"):
        answer = their_openai.embeddings.create(model="embedder", input=["a", "bb"], encoding_format=encoding)
        if encoding == "float":
            assert [one.embedding for one in answer.data] == [[1.0, 0.5, -0.25], [2.0, 0.5, -0.25]]
    assert their_openai.embeddings.create(model="embedder", input="a").data[0].embedding == [1.0, 0.5, -0.25]


def test_openai_calls_tools(server: Server, their_openai: openai.OpenAI):
    server.hub.serve = scripted(CALL, Done(finish_reason="tool_calls", usage=Usage()))
    tool: Any = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    answer = their_openai.chat.completions.create(model="chatty", messages=QUESTION, tools=[tool])
    assert answer.choices[0].finish_reason == "tool_calls"
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert json.loads(call.function.arguments) == {"city": "Graz"}
    with their_openai.chat.completions.stream(model="chatty", messages=QUESTION, tools=[tool]) as stream:
        (streamed,) = stream.get_final_completion().choices[0].message.tool_calls or []
    assert (streamed.id, streamed.function.name) == ("c1", "weather")


def test_openai_parses_structured_answers(server: Server, their_openai: openai.OpenAI):
    server.hub.serve = scripted(Delta(text='{"name":"Ada"}'), END)
    answer = their_openai.chat.completions.parse(model="chatty", messages=QUESTION, response_format=Person)
    assert answer.choices[0].message.parsed == Person(name="Ada")
    work = server.hub.requests[-1].work
    assert isinstance(work, ChatWork)
    assert isinstance(work.format, dict)
    assert work.format["required"] == ["name"]


def test_openai_sends_pictures(server: Server, their_openai: openai.OpenAI):
    content: list[Any] = [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": PNG_URL}}]
    their_openai.chat.completions.create(model="seer", messages=[{"role": "user", "content": content}])
    work = server.hub.requests[-1].work
    assert isinstance(work, ChatWork)
    assert work.messages[0].images[0].data == PNG


def test_openai_lists_models(their_openai: openai.OpenAI):
    assert next(iter(their_openai.models.list())).id == "chatty:latest"
    assert their_openai.models.retrieve("chatty").id == "chatty"


def test_openai_understands_our_errors(server: Server, their_openai: openai.OpenAI):
    with pytest.raises(openai.NotFoundError, match="partage pull nope") as missing:
        their_openai.chat.completions.create(model="nope", messages=QUESTION)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError, match="n: from 1 to 64"):
        their_openai.chat.completions.create(model="chatty", messages=QUESTION, n=0)
    server.hub.serve = scripted(Delta(text="we"), EngineCrashed("it ended"))
    with pytest.raises(openai.APIError, match="it ended"):
        list(their_openai.chat.completions.create(model="chatty", messages=QUESTION, stream=True))
    server.hub.refusal = QuotaExceeded(retry_after_s=9)
    with pytest.raises(openai.RateLimitError) as limited:
        their_openai.chat.completions.create(model="chatty", messages=QUESTION)
    assert limited.value.response.headers["retry-after"] == "9"
    server.hub.keys = {"sesame": Client(name="ali")}
    with pytest.raises(openai.AuthenticationError):
        their_openai.models.list()


def test_openai_waits_through_silence(server: Server, their_openai: openai.OpenAI):
    server.hub.serve = scripted(Delta(text="late"), END, pause_s=0.7)
    chunks = list(their_openai.chat.completions.create(model="chatty", messages=QUESTION, stream=True))
    assert chunks[0].choices[0].delta.content == "late"


class Endless:
    """Never done: hangs in the queue, or goes on reading the prompt, or goes on talking."""

    def __init__(self, phase: str) -> None:
        self._phase = phase
        self.steps = 0

    async def __call__(self, request: Request) -> AsyncGenerator[Output, None]:
        while True:
            self.steps += 1
            await asyncio.sleep(0.01)
            if self._phase == "prefill":
                yield PromptProgress(1, 9)
            elif self._phase == "decoding":
                yield Delta(text="on and on")


@pytest.mark.parametrize("phase", ["queued", "prefill", "decoding"])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", "/v1/chat/completions", "/v1/completions"])
def test_a_client_that_hangs_up_ends_its_request(server: Server, path: str, stream: bool, phase: str):
    serve = Endless(phase)
    server.hub.serve = serve
    body = json.dumps({"model": "chatty", "messages": QUESTION, "prompt": "x", "stream": stream}).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head + body)
        wait_until(lambda: serve.steps > 3)
    # Measured in milliseconds; the bound is for a machine that is busy with other things.
    assert wait_until(lambda: server.hub.outcomes == ["cancelled"]) < 2.5


def test_official_clients_that_stop_reading_end_their_request(
    server: Server, their_ollama: ollama.Client, their_openai: openai.OpenAI
):
    server.hub.serve = Endless("decoding")
    lines = iter(their_ollama.chat("chatty", messages=[{"role": "user", "content": "x"}], stream=True))
    next(lines)
    lines.close()  # pyright: ignore[reportAttributeAccessIssue]
    wait_until(lambda: server.hub.outcomes == ["cancelled"])
    with their_openai.chat.completions.create(model="chatty", messages=QUESTION, stream=True) as stream:
        next(iter(stream))
    wait_until(lambda: server.hub.outcomes == ["cancelled", "cancelled"])


def test_a_body_of_200_mib_is_refused_without_being_kept(server: Server):
    megabyte = b"x" * 2**20
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        head = "POST /api/chat HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode())
        for _ in range(200):
            connection.sendall(b"%x\r\n" % len(megabyte) + megabyte + b"\r\n")
        connection.sendall(b"0\r\n\r\n")
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'{"error":"the body is larger than the 100 MiB this server takes"}' in answer


def test_many_embeddings_of_real_width_arrive_whole(server: Server, their_openai: openai.OpenAI):
    vector = tuple(index / 768 for index in range(768))
    server.hub.serve = scripted(Vectors(vectors=(vector,) * 256, usage=Usage(prompt_tokens=256)))
    answer = their_openai.embeddings.create(model="embedder", input=["x"] * 256)
    assert len(answer.data) == 256
    assert answer.data[-1].embedding == pytest.approx(vector, abs=1e-6)


def test_openai_responds(server: Server, their_openai: openai.OpenAI):
    answer = their_openai.responses.create(model="chatty", input="one two", instructions="be kind")
    assert (answer.output_text, answer.status) == ("one two", "completed")
    tool: Any = {"type": "function", "name": "weather", "parameters": {"type": "object"}}
    server.hub.serve = scripted(Delta(thinking="hm"), Delta(text="so"), CALL, END)
    with their_openai.responses.stream(model="chatty", input="how is Graz?", tools=[tool]) as stream:
        types = [event.type for event in stream]
        final = stream.get_final_response()
    assert types[0] == "response.created"
    assert "response.output_text.delta" in types
    assert [item.type for item in final.output] == ["reasoning", "message", "function_call"]
    server.hub.serve = scripted(Delta(text='{"name":"Ada"}'), END)
    assert their_openai.responses.parse(model="chatty", input="who?", text_format=Person).output_parsed == Person(
        name="Ada"
    )
    server.hub.serve = scripted(Delta(text="we"), EngineCrashed("it ended"))
    with pytest.raises(openai.APIError, match="it ended"):
        list(their_openai.responses.create(model="chatty", input="x", stream=True))
