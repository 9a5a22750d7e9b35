from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import json
import signal
import subprocess
import sys
import time
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest
from hub_process import running_hub

from partage.domain import LaunchSettings
from partage.engine.llamacpp import LlamaCpp
from partage.engine.spec import LaunchSpec
from partage.errors import EngineTimedOut
from partage.models.store import Store
from partage.work import ChatWork, Delta, Message, Output, Sampling

pytestmark = pytest.mark.live

CHAT, EMBED = "smollm2:135m", "all-minilm:22m"
COUNT = ChatWork(messages=(Message(role="user", content="Count to fifty."),), sampling=Sampling(max_tokens=40, seed=1))


@pytest.fixture
def spec(model_home: Path, tmp_path: Path) -> LaunchSpec:
    settings = LaunchSettings(context_tokens=1024, slots=1, threads=1)
    path = Store(model_home).get(CHAT).path
    return LaunchSpec(id=f"{CHAT}#1", model_path=path, settings=settings, run_dir=str(tmp_path / "run"))


def text_of(outputs: list[Output]) -> str:
    return "".join(output.text for output in outputs if isinstance(output, Delta))


async def test_paused_engine_is_silent_loses_nothing_and_its_silence_is_not_counted(spec: LaunchSpec):
    engine = LlamaCpp(replace(spec, idle_timeout_s=0.8))
    await engine.start()
    try:
        async with aclosing(engine.stream(COUNT)) as stream:
            undisturbed = [output async for output in stream]
        outputs: list[Output] = []
        paused_s = 0.0
        async with aclosing(engine.stream(COUNT)) as stream:
            async for output in stream:
                outputs.append(output)
                if len(outputs) == 5:
                    engine.pause()
                    engine.pause()
                    asyncio.get_running_loop().call_later(1.5, engine.resume)
                    asyncio.get_running_loop().call_later(1.5, engine.resume)
                    paused_s = time.monotonic()
        assert text_of(outputs) == text_of(undisturbed)
        assert time.monotonic() - paused_s > 1.4
    finally:
        await engine.stop(5.0)


async def test_engine_that_stands_still_unasked_is_an_error_even_if_it_was_paused_before(spec: LaunchSpec):
    engine = LlamaCpp(replace(spec, idle_timeout_s=0.8))
    loaded = await engine.start()
    try:
        with pytest.raises(EngineTimedOut):  # noqa: PT012
            async with aclosing(engine.stream(COUNT)) as stream:
                await anext(stream)
                engine.pause()
                await asyncio.sleep(0.2)
                engine.resume()
                psutil.Process(loaded.pid).suspend()  # as a stranger might
                async for _ in stream:
                    pass
    finally:
        await engine.stop(5.0)


async def test_paused_engine_ends_within_its_grace(spec: LaunchSpec):
    engine = LlamaCpp(spec)
    await engine.start()
    engine.pause()
    began_s = time.monotonic()
    await engine.stop(10.0)
    assert time.monotonic() - began_s < 5.0
    assert (await engine.wait_gone()).returncode == -signal.SIGTERM


CLIENTS = "clients: {job: {key: job-key, class: batch}, ana: {key: ana-key, class: interactive}}\n"
CONFIG = CLIENTS + f'models: {{"{CHAT}": {{slots: 2}}}}\n'


def test_batch_stream_pauses_for_a_person_and_paused_children_die_with_a_killed_hub(model_home: Path, tmp_path: Path):
    with running_hub(tmp_path / "hub", model_home, config=CONFIG) as hub, contextlib.ExitStack() as stack:
        client = stack.enter_context(httpx.Client(base_url=hub.url, timeout=60))
        for model in (CHAT, EMBED):
            client.post("/api/generate", json={"model": model})
        body = {"model": CHAT, "prompt": "Count:", "raw": True, "options": {"num_predict": 60}}
        with client.stream("POST", "/api/generate", json=body, headers=_key("job")) as answer:
            lines = answer.iter_lines()
            next(lines)
            with concurrent.futures.ThreadPoolExecutor(2) as people:
                asked = [people.submit(_embed, hub.url) for _ in range(2)]
                states = set[str]()
                while not all(one.done() for one in asked):
                    states |= {f"{one['model']} {one['state']}" for one in hub.status()["residents"]}
                assert all(one.result() for one in asked)
            last = json.loads(list(lines)[-1])
        assert f"{CHAT} paused" in states
        assert f"{EMBED} paused" not in states or f"{EMBED} ready" in states
        assert last["done"]
        assert last["eval_count"] <= 60
        children = hub.children()
        for child in children:
            child.suspend()
        hub.process.send_signal(signal.SIGKILL)
        hub.process.wait(timeout=10)
        _, alive = psutil.wait_procs(children, timeout=10)
        assert not alive, "paused children outlive a killed hub"


def _embed(url: str) -> bool:
    texts = [f"this is sentence {number} of a long list of them" * 10 for number in range(12)]
    answer = httpx.post(f"{url}/api/embed", json={"model": EMBED, "input": texts}, headers=_key("ana"), timeout=60)
    return answer.status_code == 200


def _key(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}-key"}


def test_model_paused_from_the_command_line_stands_still_until_it_goes_on(model_home: Path, tmp_path: Path):
    with running_hub(tmp_path / "hub", model_home) as hub, httpx.Client(base_url=hub.url, timeout=60) as client:
        body = {"model": CHAT, "prompt": "Count:", "raw": True, "options": {"num_predict": 40}}
        with client.stream("POST", "/api/generate", json=body) as answer:
            lines = answer.iter_lines()
            next(lines)
            assert _partage(hub.url, "pause", CHAT) == f"paused {CHAT}\n"
            (resident,) = hub.status()["residents"]
            before_s = _cpu_s(resident["pid"])
            time.sleep(0.5)
            assert _cpu_s(resident["pid"]) - before_s < 0.1
            assert "paused by hand" in _partage(hub.url, "ps")
            _partage(hub.url, "resume", CHAT)
            assert json.loads([*lines][-1])["eval_count"] == 40


def _partage(url: str, *arguments: str) -> str:
    command = [sys.executable, "-m", "partage", *arguments, "--url", url]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def _cpu_s(pid: object) -> float:
    assert isinstance(pid, int)
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system
