from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import jsonschema
import psutil
import pytest

from partage.domain import LaunchSettings
from partage.engine.base import Engine, Loaded
from partage.engine.llamacpp import LlamaCpp
from partage.engine.registry import make_engine
from partage.engine.spec import LaunchSpec
from partage.errors import ContextTooLong, EngineCrashed, EngineStartFailed, InvalidRequest, Unsupported
from partage.json_value import JsonObject
from partage.models.store import Store
from partage.work import (
    ChatWork,
    CompletionWork,
    CountWork,
    Delta,
    Done,
    Message,
    Output,
    PromptProgress,
    Sampling,
    Usage,
    Work,
)

pytestmark = pytest.mark.live

GREEDY = Sampling(max_tokens=12, temperature=0)


@pytest.fixture
def spec(model_home: Path, tmp_path: Path) -> LaunchSpec:
    path = Store(model_home).get("smollm2:135m").path
    settings = LaunchSettings(context_tokens=4096, slots=1, threads=1, batch_tokens=64, micro_batch_tokens=64)
    return LaunchSpec(id="smollm2:135m#1", model_path=path, settings=settings, run_dir=str(tmp_path / "run"))


@asynccontextmanager
async def running(spec: LaunchSpec) -> AsyncGenerator[tuple[Engine, Loaded]]:
    engine = make_engine(spec)
    try:
        yield engine, await engine.start()
    finally:
        await engine.stop(5.0)


def chat(text: str, sampling: Sampling = GREEDY) -> ChatWork:
    return ChatWork(messages=(Message(role="user", content=text),), sampling=sampling)


async def outputs_of(engine: Engine, work: Work) -> list[Output]:
    async with aclosing(engine.stream(work)) as stream:
        return [output async for output in stream]


def text_of(outputs: list[Output]) -> str:
    return "".join(output.text for output in outputs if isinstance(output, Delta))


def entries(folder: str | Path) -> list[Path]:
    return list(Path(folder).iterdir())


def size_of(path: str) -> int:
    return Path(path).stat().st_size


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_chat_is_streamed_and_measured(spec: LaunchSpec):
    async with running(spec) as (engine, loaded):
        assert (loaded.context_tokens, loaded.slots) == (4096, 1)
        [(device, size)] = loaded.measured_bytes
        file_bytes = size_of(spec.model_path)
        assert device == "host"
        assert file_bytes < size < file_bytes + 300 * 2**20
        outputs = await outputs_of(engine, chat("Name a colour."))
    done = outputs[-1]
    assert isinstance(outputs[0], PromptProgress)
    assert isinstance(done, Done)
    assert text_of(outputs)
    assert (done.finish_reason, done.usage.output_tokens) == ("length", 12)
    assert done.usage.prompt_tokens > 20
    assert done.usage.prefill_s > 0 < done.usage.decode_s


async def test_raw_completion_reports_logprobs(spec: LaunchSpec):
    async with running(spec) as (engine, _):
        work = CompletionWork(prompt="The capital of France is", sampling=replace(GREEDY, max_tokens=3, logprobs=2))
        outputs = await outputs_of(engine, work)
        with pytest.raises(Unsupported):
            await outputs_of(engine, CompletionWork(prompt="def f(", suffix="return 1"))
    assert "Paris" in text_of(outputs)
    first = next(output for output in outputs if isinstance(output, Delta))
    assert len(first.logprobs[0].top) == 2
    assert first.logprobs[0].logprob <= 0


async def test_tiny_model_gives_valid_compact_json_for_a_schema(spec: LaunchSpec):
    schema: JsonObject = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    async with running(spec) as (engine, _):
        work = replace(chat("Anna Smith is 31 years old.", replace(GREEDY, max_tokens=80)), format=schema)
        text = text_of(await outputs_of(engine, work))
        anything = text_of(await outputs_of(engine, replace(work, format="json")))
        with pytest.raises(InvalidRequest):
            await outputs_of(engine, replace(work, format={"type": "no such type"}))
    answer = json.loads(text)
    assert set(answer) == {"name", "age"}
    assert isinstance(answer["age"], int)
    assert text == json.dumps(answer, ensure_ascii=False)
    assert anything.startswith("{")


@pytest.mark.parametrize(
    "schema",
    [
        {"enum": ["red", "green", 7, None]},
        {"type": "array", "items": {"anyOf": [{"type": "integer"}, {"const": "x"}]}, "minItems": 1, "maxItems": 3},
        {"$defs": {"Colour": {"enum": ["red"]}}, "properties": {"c": {"$ref": "#/$defs/Colour"}}, "required": ["c"]},
        {"type": ["string", "null"], "minLength": 2, "maxLength": 5},
        {"type": "object", "properties": {"n": {"type": "number", "minimum": 0.5, "maximum": 9}}, "required": ["n"]},
        {"type": "string", "pattern": "^[a-c]{3}$"},
        {"oneOf": [{"type": "integer"}, {"type": "boolean"}]},
    ],
    ids=lambda schema: next(iter(schema)),
)
async def test_every_kind_of_schema_really_constrains(spec: LaunchSpec, schema: JsonObject):
    async with running(spec) as (engine, _):
        work = replace(chat("Tell me a story.", replace(GREEDY, max_tokens=100)), format=schema)
        jsonschema.validate(json.loads(text_of(await outputs_of(engine, work))), schema)


async def test_answer_has_only_the_properties_that_its_schema_names(spec: LaunchSpec):
    schema: JsonObject = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 9}}}
    plain = "List everything you know of Anna as JSON with the keys age, city, job, hobbies."
    async with running(spec) as (engine, _):
        for seed in range(6):
            sampling = Sampling(max_tokens=120, temperature=1.0, seed=seed)
            answer = text_of(await outputs_of(engine, replace(chat(plain, sampling), format=schema)))
            assert set(json.loads(answer)) <= {"name"}


async def test_prompt_over_the_context_is_refused_with_both_numbers(spec: LaunchSpec):
    async with running(replace(spec, settings=replace(spec.settings, context_tokens=256))) as (engine, _):
        with pytest.raises(ContextTooLong, match=r"\d{4} tokens.*256"):
            await outputs_of(engine, chat("word " * 1500))


async def test_two_slots_serve_side_by_side(spec: LaunchSpec):
    async with running(replace(spec, settings=replace(spec.settings, context_tokens=512, slots=2))) as (engine, loaded):
        assert loaded.slots == 2
        order: list[str] = []

        async def answer(name: str) -> None:
            async for _ in engine.stream(chat(f"Count from {name}.", replace(GREEDY, max_tokens=60))):
                order.append(name)  # noqa: PERF401 (as they come)

        async with asyncio.TaskGroup() as group:
            group.create_task(answer("one"))
            group.create_task(answer("two"))
    last = {name: len(order) - order[::-1].index(name) for name in ("one", "two")}
    assert order.index("one") < last["two"]
    assert order.index("two") < last["one"]


@pytest.mark.parametrize("leave_in", [PromptProgress, Delta], ids=["prompt", "answer"])
async def test_engine_stops_working_when_the_client_leaves_in_the(spec: LaunchSpec, leave_in: type[Output]):
    async with running(spec) as (engine, _):
        work = chat("word " * 3000 if leave_in is PromptProgress else "Tell me all.", Sampling(max_tokens=3000))
        async with aclosing(engine.stream(work)) as stream:
            async for output in stream:
                if isinstance(output, leave_in):
                    break
        began = time.monotonic()
        await outputs_of(engine, chat("Hello", Sampling(max_tokens=1)))
        assert time.monotonic() - began < 8.0  # the whole of either takes over 20 s on the one slot


async def test_kill_of_the_child_reaches_the_stream_at_once_with_its_cause(spec: LaunchSpec):
    async with running(spec) as (engine, loaded):
        stream = engine.stream(chat("Tell me a story.", Sampling(max_tokens=2000)))
        async for output in stream:
            if isinstance(output, Delta):
                break
        assert loaded.pid is not None
        began = time.monotonic()
        os.kill(loaded.pid, signal.SIGKILL)
        exit_ = await engine.wait_gone()
        noticed_s = time.monotonic() - began
        with pytest.raises(EngineCrashed, match="SIGKILL"):
            await outputs_until_error(stream)
    assert (exit_.returncode, exit_.asked_for) == (-signal.SIGKILL, False)
    assert exit_.log_tail
    assert noticed_s < 1.0


async def outputs_until_error(stream: AsyncGenerator[Output]) -> None:
    async for _ in stream:
        pass


async def test_child_dies_when_its_parent_is_killed(spec: LaunchSpec):
    script = textwrap.dedent(f"""
        import asyncio
        from partage.domain import LaunchSettings
        from partage.engine.llamacpp import LlamaCpp
        from partage.engine.spec import LaunchSpec

        async def main():
            settings = LaunchSettings(context_tokens=256, slots=1, threads=1)
            spec = LaunchSpec(id="x", model_path={spec.model_path!r}, settings=settings, run_dir={spec.run_dir!r})
            loaded = await LlamaCpp(spec).start()
            print(loaded.pid, flush=True)
            await asyncio.sleep(60)

        asyncio.run(main())
    """)
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = psutil.Process(int(await parent.stdout.readline()))
    parent.kill()
    await parent.wait()
    await asyncio.to_thread(psutil.wait_procs, [child], timeout=5)
    assert not child.is_running()


async def test_stop_during_start_fails_the_start_and_leaves_nothing(spec: LaunchSpec):
    for delay_s in (0.0, 0.05, 0.2):
        engine = LlamaCpp(spec)

        async def expect_failure(engine: LlamaCpp = engine) -> None:
            with pytest.raises(EngineStartFailed, match="stopped while it started"):
                await engine.start()

        async with asyncio.TaskGroup() as group:
            group.create_task(expect_failure())
            await asyncio.sleep(delay_s)
            await engine.stop(1.0)
        assert (await engine.wait_gone()).asked_for
    assert entries(spec.run_dir) == []


async def test_start_that_takes_too_long_is_ended(spec: LaunchSpec):
    with pytest.raises(EngineStartFailed, match="not ready after"):
        await LlamaCpp(replace(spec, start_timeout_s=0.05)).start()


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"this is no model", "invalid magic"), (None, "failed to load model")],
    ids=["not a model", "missing"],
)
async def test_bad_model_file_fails_the_start_with_the_reason(
    spec: LaunchSpec, tmp_path: Path, content: bytes | None, reason: str
):
    path = tmp_path / "bad.gguf"
    if content is not None:
        path.write_bytes(content)
    engine = LlamaCpp(replace(spec, model_path=str(path)))
    with pytest.raises(EngineStartFailed, match=reason):
        await engine.start()
    assert not (await engine.wait_gone()).asked_for


async def test_socket_is_in_a_directory_for_this_user_alone_and_the_key_is_in_no_process_list(spec: LaunchSpec):
    async with running(spec) as (_, loaded):
        [directory] = entries(spec.run_dir)
        assert mode_of(directory) == 0o700
        assert [path.name for path in entries(directory)] == ["e.sock"]
        command = psutil.Process(loaded.pid).cmdline()
        assert command[1:] == ["-m", "partage.worker"]
    assert entries(spec.run_dir) == []


async def test_child_never_computes_with_more_threads_than_it_was_given(spec: LaunchSpec):
    async with running(spec) as (engine, loaded):
        process = psutil.Process(loaded.pid)
        before = {thread.id: thread.user_time + thread.system_time for thread in process.threads()}
        await outputs_of(engine, chat("word " * 300, replace(GREEDY, max_tokens=40)))
        spent = [thread.user_time + thread.system_time - before.get(thread.id, 0.0) for thread in process.threads()]
    busy = [seconds for seconds in spent if seconds > 0.1 * sum(spent)]
    assert len(busy) == 1


async def test_a_conversation_counts_as_many_tokens_as_it_then_has(spec: LaunchSpec):
    tool: JsonObject = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    asked = replace(chat("How is the weather in Graz?", replace(GREEDY, max_tokens=1)), tools=(tool,))
    async with running(spec) as (engine, _):
        *_, counted = await outputs_of(engine, CountWork(chat=asked))
        *_, answered = await outputs_of(engine, asked)
        assert isinstance(counted, Done)
        assert isinstance(answered, Done)
        assert counted.usage == Usage(prompt_tokens=answered.usage.prompt_tokens)
