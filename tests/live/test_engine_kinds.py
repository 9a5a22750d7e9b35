from __future__ import annotations

import asyncio
import io
import math
import os
import sys
import textwrap
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import psutil
import pytest
from aiohttp import web
from PIL import Image as Picture
from stand_in_server import write_stand_in
from tiny_projector import write_projector

from partage.domain import LaunchSettings
from partage.engine.base import Engine, Loaded
from partage.engine.launch import parameters
from partage.engine.registry import make_engine
from partage.engine.spec import EngineSpec, LaunchSpec, RemoteSpec
from partage.errors import (
    ContextTooLong,
    EngineCrashed,
    EngineOutOfMemory,
    EngineStartFailed,
    EngineTimedOut,
    InvalidRequest,
    Unsupported,
)
from partage.json_value import JsonObject
from partage.models.store import Store
from partage.work import (
    ChatWork,
    CompletionWork,
    CountWork,
    Delta,
    Done,
    EmbedWork,
    Image,
    Message,
    Output,
    Sampling,
    Vectors,
    Work,
)

pytestmark = pytest.mark.live

GREEDY = Sampling(max_tokens=8, temperature=0)
HELLO = ChatWork(messages=(Message(role="user", content="Say hello."),), sampling=GREEDY)


@pytest.fixture
def chat_spec(model_home: Path, tmp_path: Path) -> LaunchSpec:
    path = Store(model_home).get("smollm2:135m").path
    settings = LaunchSettings(context_tokens=2048, slots=1, threads=1)
    return LaunchSpec(id="smollm2:135m#1", model_path=path, settings=settings, run_dir=str(tmp_path / "run"))


@pytest.fixture
def embed_spec(model_home: Path, tmp_path: Path) -> LaunchSpec:
    path = Store(model_home).get("all-minilm").path
    settings = LaunchSettings(
        context_tokens=512, slots=2, threads=1, batch_tokens=512, micro_batch_tokens=512, embedding=True
    )
    return LaunchSpec(id="all-minilm#1", model_path=path, settings=settings, run_dir=str(tmp_path / "run"))


@asynccontextmanager
async def running(spec: EngineSpec) -> AsyncGenerator[tuple[Engine, Loaded]]:
    engine = make_engine(spec)
    try:
        yield engine, await engine.start()
    finally:
        await engine.stop(5.0)


async def outputs_of(engine: Engine, work: Work) -> list[Output]:
    async with aclosing(engine.stream(work)) as stream:
        return [output async for output in stream]


async def vectors_of(engine: Engine, *inputs: str, **options: int | bool) -> Vectors:
    [vectors] = await outputs_of(engine, EmbedWork(inputs=inputs, **options))  # type: ignore[arg-type]
    assert isinstance(vectors, Vectors)
    return vectors


def text_of(outputs: list[Output]) -> str:
    return "".join(output.text for output in outputs if isinstance(output, Delta))


def cosine(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    return (
        math.sumprod(one, other) if sys.version_info >= (3, 12) else sum(a * b for a, b in zip(one, other, strict=True))
    )


async def test_embeddings_have_the_model_s_width_and_mean_something(embed_spec: LaunchSpec):
    async with running(embed_spec) as (engine, _):
        found = await vectors_of(engine, "The cat sleeps.", "A kitten is napping.", "Interest rates rose again.")
        one, other, far = found.vectors
        assert len(one) == 384
        assert math.hypot(*one) == pytest.approx(1.0, abs=1e-3)
        assert cosine(one, other) > 0.5
        assert cosine(one, far) < 0.2
        assert found.usage.prompt_tokens > 12
        assert len((await vectors_of(engine, "short", dimensions=64)).vectors[0]) == 64
        assert len((await vectors_of(engine, *["many"] * 70)).vectors) == 70
        [by_ids] = await outputs_of(engine, EmbedWork(tokens=((101, 1996, 4937, 25126, 1012, 102),)))
        assert isinstance(by_ids, Vectors)
        assert cosine(by_ids.vectors[0], one) > 0.999


async def test_input_over_the_context_is_cut_or_refused_as_asked(embed_spec: LaunchSpec):
    long = "returned goods " * 600
    async with running(embed_spec) as (engine, _):
        cut = await vectors_of(engine, long)
        assert cut.usage.prompt_tokens == 512
        same_start = await vectors_of(engine, long + "and more of them")
        assert cosine(cut.vectors[0], same_start.vectors[0]) > 0.999
        with pytest.raises(ContextTooLong, match=r"\d{4} tokens"):
            await vectors_of(engine, long, truncate=False)
        with pytest.raises(Unsupported):
            await outputs_of(engine, CompletionWork(prompt="x", suffix="y"))


async def test_image_question_is_answered(chat_spec: LaunchSpec, tmp_path: Path):
    projector = tmp_path / "mmproj.gguf"
    write_projector(projector, text_width=576)
    picture = io.BytesIO()
    Picture.new("RGB", (80, 60), "red").save(picture, "PNG")
    image = Image(data=picture.getvalue(), media_type="image/jpeg")
    question = Message(role="user", content="What is on it?", images=(image,))
    async with running(replace(chat_spec, projector_path=str(projector))) as (engine, _):
        done = (await outputs_of(engine, ChatWork(messages=(question,), sampling=GREEDY)))[-1]
        assert isinstance(done, Done)
        assert done.usage.prompt_tokens > 16 + 20  # (56/14)^2 patches beside the words
        [counted] = await outputs_of(engine, CountWork(chat=ChatWork(messages=(question,))))
        assert isinstance(counted, Done)
        assert counted.usage.prompt_tokens == done.usage.prompt_tokens
        raw = CompletionWork(prompt="Look: [img-0] it is", images=(image,), sampling=GREEDY)
        done = (await outputs_of(engine, raw))[-1]
        assert isinstance(done, Done)
        assert done.usage.prompt_tokens > 16
        broken = replace(question, images=(Image(data=b"\x89PNG no picture", media_type="image/png"),))
        with pytest.raises(InvalidRequest):
            await outputs_of(engine, ChatWork(messages=(broken,), sampling=GREEDY))
        assert await outputs_of(engine, HELLO)


async def test_image_for_a_model_without_eyes_is_refused(chat_spec: LaunchSpec):
    image = Image(data=b"\x89PNG", media_type="image/png")
    async with running(chat_spec) as (engine, _):
        with pytest.raises(Unsupported, match="image"):
            await outputs_of(engine, ChatWork(messages=(Message(role="user", images=(image,)),)))


@pytest.fixture
def llama_server(tmp_path: Path) -> Path:
    return write_stand_in(tmp_path / "llama-server")


async def test_llama_server_binary_serves_as_well(chat_spec: LaunchSpec, llama_server: Path):
    schema: JsonObject = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
    async with running(replace(chat_spec, llama_server=str(llama_server))) as (engine, loaded):
        assert loaded.context_tokens == 2048
        assert loaded.measured_bytes[0][1] > 100 * 2**20
        assert text_of(await outputs_of(engine, HELLO))
        answer = text_of(await outputs_of(engine, replace(HELLO, format=schema, sampling=Sampling(max_tokens=60))))
        assert set(msgspec.json.decode(answer)) == {"a"}
    assert not psutil.pid_exists(loaded.pid or 0)


async def test_llama_server_that_is_missing_fails_the_start_by_name(chat_spec: LaunchSpec):
    engine = make_engine(replace(chat_spec, llama_server="/nowhere/llama-server"))
    with pytest.raises(EngineStartFailed, match="cannot run /nowhere/llama-server"):
        await engine.start()


async def test_llama_server_that_knows_an_option_less_fails_with_its_own_words(chat_spec: LaunchSpec, tmp_path: Path):
    path = tmp_path / "old-server"
    path.write_text('#!/bin/sh\necho "error: invalid argument: --fit" >&2\nexit 1\n')
    path.chmod(0o700)
    with pytest.raises(EngineStartFailed, match="invalid argument: --fit"):
        await make_engine(replace(chat_spec, llama_server=str(path))).start()


async def test_out_of_memory_while_loading_is_an_error_of_its_own(chat_spec: LaunchSpec, tmp_path: Path):
    path = tmp_path / "small-machine"
    path.write_text('#!/bin/sh\necho "E alloc: cudaMalloc failed: out of memory" >&2\nexit 1\n')
    path.chmod(0o700)
    with pytest.raises(EngineOutOfMemory, match="cudaMalloc failed"):
        await make_engine(replace(chat_spec, llama_server=str(path))).start()


@asynccontextmanager
async def openai_server(spec: LaunchSpec) -> AsyncGenerator[str]:
    """Run llama.cpp's own server on a loopback port: as good an OpenAI-compatible server as any."""
    origin = {"parent_pid": os.getpid(), "environment": {}}
    orders = {"writes_bytes": 0, "parameters": parameters(spec, "127.0.0.1", "key")}
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "partage.worker"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.writelines(msgspec.json.encode(line) + b"\n" for line in (origin, orders))
    child.stdin.close()
    try:
        yield msgspec.json.decode(await child.stdout.readline())["address"]
    finally:
        child.kill()
        await child.wait()


async def test_openai_compatible_server_is_adopted(chat_spec: LaunchSpec):
    async with openai_server(chat_spec) as url:
        spec = RemoteSpec(id="r#1", kind="openai", base_url=url, model=chat_spec.model_path, api_key="key")
        async with running(spec) as (engine, loaded):
            assert loaded.measured_bytes == ()
            outputs = await outputs_of(engine, HELLO)
            done = outputs[-1]
            assert isinstance(done, Done)
            assert text_of(outputs)
            assert done.usage.output_tokens == 8
            assert done.usage.prefill_s > 0 < done.usage.decode_s
            assert text_of(await outputs_of(engine, CompletionWork(prompt="Once upon", sampling=GREEDY)))
        with pytest.raises(EngineStartFailed, match="no model of this name; it has"):
            await make_engine(replace(spec, model="other")).start()
        with pytest.raises(EngineStartFailed, match="refuses the hub's key"):
            await make_engine(replace(spec, api_key="wrong")).start()


OLLAMA_ANSWER = textwrap.dedent("""\
    {"model":"m","message":{"role":"assistant","content":"Hel"},"done":false}
    {"model":"m","message":{"role":"assistant","content":"lo"},"done":false}
    {"model":"m","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","eval_count":2}
""")


@asynccontextmanager
async def ollama_server() -> AsyncGenerator[tuple[str, list[JsonObject]]]:
    """Answer as Ollama does, in what the adapter uses of it; keeps what it was asked."""
    asked: list[JsonObject] = []

    async def generate(request: web.Request) -> web.Response:
        asked.append(body := await request.json())
        if body["model"] == "embedder":
            return web.json_response({"error": '"embedder" does not support generate'}, status=400)
        return web.json_response({"done": True})

    async def chat(request: web.Request) -> web.StreamResponse:
        asked.append(body := await request.json())
        response = web.StreamResponse()
        await response.prepare(request)
        for line in OLLAMA_ANSWER.splitlines(keepends=True):
            await response.write(line[:9].encode())
            await response.write(line[9:].encode())
            if body["messages"][0]["content"] == "hang":
                await asyncio.sleep(5)
            if body["messages"][0]["content"] == "die":
                return response
        return response

    async def embed(request: web.Request) -> web.Response:
        asked.append(body := await request.json())
        if not body["input"]:
            return web.json_response({"embeddings": []})
        return web.json_response({"embeddings": [[1.0, 0.0]] * len(body["input"]), "prompt_eval_count": 3})

    async def running_models(_: web.Request) -> web.Response:
        return web.json_response({"models": [{"name": "m:latest", "size": 900, "size_vram": 700}]})

    app = web.Application()
    app.router.add_post("/api/generate", generate)
    app.router.add_post("/api/chat", chat)
    app.router.add_post("/api/embed", embed)
    app.router.add_get("/api/ps", running_models)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
    finally:
        await runner.cleanup()


async def test_ollama_is_told_to_load_and_to_let_go():
    async with ollama_server() as (url, asked):
        spec = RemoteSpec(id="o#1", kind="ollama", base_url=url, model="m", device="GPU-x", context_tokens=8192)
        async with running(spec) as (engine, loaded):
            assert loaded.measured_bytes == (("GPU-x", 700),)
            outputs = await outputs_of(engine, replace(HELLO, format="json", think=False))
            assert text_of(outputs) == "Hello"
            assert (await vectors_of(engine, "a", "b")).vectors == ((1.0, 0.0), (1.0, 0.0))
        load, chat, embed, leave = asked
    assert load["keep_alive"] == -1
    assert load["options"] == {"num_ctx": 8192}
    assert chat["options"] == {"num_ctx": 8192, "temperature": 0, "num_predict": 8}
    assert (chat["format"], chat["think"], embed["truncate"]) == ("json", False, True)
    assert leave["keep_alive"] == 0


async def test_ollama_embedding_model_is_loaded_by_embedding():
    async with ollama_server() as (url, asked):
        async with running(RemoteSpec(id="o#1", kind="ollama", base_url=url, model="embedder")) as (_, loaded):
            assert loaded.measured_bytes == ()
        assert [one["keep_alive"] for one in asked] == [-1, -1, 0]


@pytest.mark.parametrize(
    ("word", "expected"), [("die", EngineCrashed), ("hang", EngineTimedOut)], ids=["ends early", "goes silent"]
)
async def test_remote_server_that(word: str, expected: type[Exception]):
    async with ollama_server() as (url, _):
        spec = RemoteSpec(id="o#1", kind="ollama", base_url=url, model="m", idle_timeout_s=0.5)
        async with running(spec) as (engine, _):
            with pytest.raises(expected):
                await outputs_of(engine, ChatWork(messages=(Message(role="user", content=word),)))


async def test_remote_server_that_is_not_there_fails_the_start_by_name():
    spec = RemoteSpec(id="o#1", kind="ollama", base_url="http://127.0.0.1:9", model="m")
    with pytest.raises(EngineStartFailed, match=r"m on http://127\.0\.0\.1:9"):
        await make_engine(spec).start()
