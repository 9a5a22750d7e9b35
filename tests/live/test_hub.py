from __future__ import annotations

import concurrent.futures
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import httpx
import ollama
import openai
import psutil
import pytest
from eventually import eventually
from hub_process import MIB, HubProcess, running_hub

from partage.journal_format import parse_lines
from partage.policy.settings import PolicySettings
from partage.sim.replay import replay

pytestmark = pytest.mark.live

CHAT, EMBED = "smollm2:135m", "all-minilm:22m"
HELLO = [{"role": "user", "content": "Say hello."}]


@pytest.fixture(scope="module")
def hub(model_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[HubProcess]:
    with running_hub(tmp_path_factory.mktemp("hub"), model_home) as running:
        yield running


def test_the_ollama_client_chats_streams_and_embeds(hub: HubProcess):
    with ollama.Client(hub.url, timeout=120) as client:
        answer = client.chat(CHAT, HELLO, options={"num_predict": 8, "temperature": 0})
        pieces = list(client.chat(CHAT, HELLO, stream=True, options={"num_predict": 8, "temperature": 0}))
        vectors = client.embed(EMBED, ["one", "two"]).embeddings
        loaded = {model.model for model in client.ps().models}
    assert answer.message.content
    assert answer.eval_count is not None
    assert 0 < answer.eval_count <= 8
    assert answer.total_duration is not None
    assert answer.total_duration > (answer.eval_duration or 0) > 0
    assert "".join(piece.message.content or "" for piece in pieces) == answer.message.content
    assert pieces[-1].done
    assert [len(vector) for vector in vectors] == [384, 384]
    assert sum(x * x for x in vectors[0]) == pytest.approx(1.0, abs=1e-3)
    assert loaded == {CHAT, EMBED}


def test_the_openai_client_chats_streams_and_embeds(hub: HubProcess):
    with openai.OpenAI(base_url=f"{hub.url}/v1", api_key="anything") as client:
        answer = client.chat.completions.create(model=CHAT, messages=HELLO, max_tokens=8, temperature=0)  # type: ignore[arg-type]
        assert answer.choices[0].message.content
        assert answer.usage is not None
        assert answer.usage.completion_tokens <= 8
        stream = client.chat.completions.create(model=CHAT, messages=HELLO, max_tokens=8, temperature=0, stream=True)  # type: ignore[arg-type]
        text = "".join(piece.choices[0].delta.content or "" for piece in stream if piece.choices)
        assert text == answer.choices[0].message.content
        vector = client.embeddings.create(model=EMBED, input="one").data[0].embedding
        assert len(vector) == 384


def test_a_json_schema_holds_even_a_tiny_model(hub: HubProcess):
    schema = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 9}}, "required": ["n"]}
    body = {"model": CHAT, "messages": HELLO, "format": schema, "stream": False, "options": {"num_predict": 64}}
    answer = httpx.post(f"{hub.url}/api/chat", json=body, timeout=60).json()
    assert set(json.loads(answer["message"]["content"])) == {"n"}


def test_the_ledger_shows_estimate_and_measure_side_by_side(hub: HubProcess):
    with ollama.Client(hub.url, timeout=120) as client:
        client.embed(EMBED, ["one"])
    (resident,) = [one for one in hub.status()["residents"] if one["model"] == EMBED]
    estimated, measured = resident["estimated_bytes"], resident["measured_bytes"]
    assert isinstance(estimated, int)
    assert isinstance(measured, int)
    assert 10 * MIB < measured <= estimated


def test_a_client_that_leaves_stops_the_generation(hub: HubProcess):
    body = {"model": CHAT, "prompt": "Count:", "raw": True, "options": {"num_predict": 2000}}
    with httpx.stream("POST", f"{hub.url}/api/generate", json=body, timeout=60) as answer:
        next(answer.iter_lines())
    eventually(lambda: all(one["serving"] == 0 for one in hub.status()["residents"]), within_s=5)


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        ("/api/chat", b"", 400),
        ("/api/chat", b"not json", 400),
        ("/api/chat", b'{"model": 5}', 400),
        ("/api/chat", b'{"model": "absent", "messages": []}', 404),
        ("/api/chat", b'{"model": "../../etc/passwd", "messages": []}', 400),
        ("/v1/chat/completions", b'{"model": "absent", "messages": [{"role": "user", "content": "x"}]}', 404),
        ("/v1/embeddings", b'{"model": "smollm2:135m", "input": "x"}', 400),
        ("/api/generate", b'{"model": "all-minilm", "prompt": "x"}', 400),
        ("/nowhere", b"{}", 404),
    ],
)
def test_bad_input_gets_a_clear_error_and_never_kills_the_hub(hub: HubProcess, path: str, content: bytes, status: int):
    answer = httpx.post(f"{hub.url}{path}", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == status
    assert answer.json()["error"]
    assert httpx.get(f"{hub.url}/healthz").status_code == 200


def test_an_engine_that_is_killed_in_mid_answer_is_an_error_for_that_client_only(hub: HubProcess):
    httpx.post(f"{hub.url}/api/generate", json={"model": CHAT}, timeout=60)
    (resident,) = [one for one in hub.status()["residents"] if one["model"] == CHAT]
    body = {"model": CHAT, "prompt": "Count:", "raw": True, "options": {"num_predict": 2000}}
    with httpx.stream("POST", f"{hub.url}/api/generate", json=body, timeout=60) as answer:
        lines = answer.iter_lines()
        next(lines)
        os.kill(int(str(resident["pid"])), signal.SIGKILL)
        last = list(lines)[-1]
    assert "error" in json.loads(last)
    with ollama.Client(hub.url, timeout=120) as client:
        assert client.chat(CHAT, HELLO, options={"num_predict": 4}).message.content


def test_an_answer_that_is_not_streamed_outlives_its_engine_and_the_journal_replays_exactly(
    model_home: Path, tmp_path: Path
):
    with running_hub(tmp_path / "hub", model_home) as hub, concurrent.futures.ThreadPoolExecutor(1) as pool:
        options = {"num_predict": 200, "temperature": 0, "stop": []}
        body = {"model": CHAT, "prompt": "Count:", "raw": True, "stream": False, "options": options}
        asked = pool.submit(httpx.post, f"{hub.url}/api/generate", json=body, timeout=60)
        eventually(lambda: any(one["streamed_tokens"] for one in hub.status()["clients"]), within_s=30)
        (resident,) = hub.status()["residents"]
        os.kill(int(str(resident["pid"])), signal.SIGKILL)
        answer = asked.result()
        assert answer.status_code == 200, answer.text
        assert answer.json()["done"]
        (client,) = [one for one in hub.status()["clients"] if one["requests"]]
        assert client["output_tokens"] == client["streamed_tokens"] == answer.json()["eval_count"]
    with (tmp_path / "hub" / "journal" / "hub.jsonl").open("rb") as journal:
        lines = list(journal)
    assert any(b"RequestRequeued" in line and b"output_tokens" in line for line in lines)
    assert not replay(parse_lines(lines), PolicySettings()).differences


def test_two_models_that_do_not_fit_together_stay_in_the_budget_and_their_journal_replays_exactly(
    model_home: Path, tmp_path: Path
):
    with running_hub(tmp_path / "wide", model_home) as wide:
        for model in (CHAT, EMBED):
            httpx.post(f"{wide.url}/api/generate", json={"model": model}, timeout=60)
        needs = [int(str(one["estimated_bytes"])) for one in wide.status()["residents"]]
    budget = max(needs) + 8 * MIB
    assert sum(needs) > budget
    config = f"devices: [{{host: true, memory: {budget}}}]\nmodels: {{}}\n"
    with running_hub(tmp_path / "narrow", model_home, config=config) as hub:

        def ask(number: int) -> bool:
            with ollama.Client(hub.url, timeout=120) as client:
                if number % 2:
                    return bool(client.embed(EMBED, [f"text {number}"]).embeddings)
                tokens = 4 if number % 10 else 80  # long enough for the hub to tell of its progress
                return bool(client.chat(CHAT, HELLO, options={"num_predict": tokens}).message.content)

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = [pool.submit(ask, number) for number in range(60)]
            while not all(answer.done() for answer in answers):
                held = sum(int(str(one["ledger_bytes"])) for one in hub.status()["residents"])
                assert held <= budget
                time.sleep(0.02)
        assert all(answer.result() for answer in answers)
    with (tmp_path / "narrow" / "journal" / "hub.jsonl").open("rb") as journal:
        found = replay(parse_lines(journal), PolicySettings())
    assert found.actions > 60
    assert not found.differences


def test_where_memory_runs_out_the_kernel_would_take_an_engine_before_the_hub(hub: HubProcess):
    httpx.post(f"{hub.url}/api/embed", json={"model": EMBED, "input": "one"}, timeout=60).raise_for_status()

    def score(pid: int) -> int:
        return int(Path(f"/proc/{pid}/oom_score_adj").read_text())

    assert hub.children()
    eventually(lambda: all(score(child.pid) > score(hub.process.pid) for child in hub.children()))


def test_a_model_that_can_never_fit_is_refused_with_the_arithmetic(model_home: Path, tmp_path: Path):
    with running_hub(tmp_path / "small", model_home, config="devices: [{host: true, memory: 60MiB}]") as hub:
        answer = httpx.post(f"{hub.url}/api/chat", json={"model": CHAT, "messages": HELLO}, timeout=30)
        assert answer.status_code == 507
        assert "bytes" in answer.json()["error"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_running_when_the_hub_ends(model_home: Path, tmp_path: Path, number: signal.Signals):
    with running_hub(tmp_path / "hub", model_home) as hub:
        httpx.post(f"{hub.url}/api/generate", json={"model": CHAT}, timeout=60)
        children = hub.children()
        assert children
        hub.process.send_signal(number)
        hub.process.wait(timeout=20)
        eventually(lambda: not any(_alive(child) for child in children), within_s=10)
        if number != signal.SIGKILL:
            assert hub.process.returncode == 0


def test_a_port_in_use_is_said_in_one_line(hub: HubProcess, tmp_path: Path):
    port = hub.url.rsplit(":", 1)[1]
    command = [sys.executable, "-m", "partage", "hub", "--port", port]
    ended = subprocess.run(
        command,
        env={**os.environ, "PARTAGE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert f"port {port} on 127.0.0.1 is in use" in ended.stderr
    assert "Traceback" not in ended.stderr


def _alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
