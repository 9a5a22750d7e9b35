"""Leases as their users have them: `partage run` beside a hub with real engines, and the client's context manager."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import httpx
import psutil
import pytest
from eventually import eventually
from hub_process import MIB, HubProcess, running_hub

from partage.client.hub_client import HubClient

pytestmark = pytest.mark.live

EMBED = "all-minilm:22m"
BUDGET = 512 * MIB


@pytest.fixture(scope="module")
def hub(model_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[HubProcess]:
    config = f"devices: [{{host: true, memory: {BUDGET}}}]\nleases: {{over_limit: warn}}\n"
    with running_hub(tmp_path_factory.mktemp("hub"), model_home, config=config) as running:
        yield running


def partage_run(hub: HubProcess, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "partage", "run", "--url", hub.url, *words]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def free_bytes(hub: HubProcess) -> int:
    return int(str(hub.status()["devices"][0]["free_bytes"]))


def leases(hub: HubProcess) -> dict[str, dict[str, object]]:
    return {str(one["name"]): one for one in hub.status()["leases"]}


def test_a_program_gets_its_environment_and_leaves_with_its_status(hub: HubProcess):
    run = partage_run(hub, "--memory", "50MiB", "--", "sh", "-c", "echo $PARTAGE_LEASE [$CUDA_VISIBLE_DEVICES]; exit 7")
    said, _ = run.communicate(timeout=30)
    assert run.returncode == 7
    assert said.startswith("sh-")
    assert "[]" in said
    assert not leases(hub)


def test_a_lease_makes_an_idle_model_leave_and_the_model_comes_back_afterwards(hub: HubProcess):
    httpx.post(f"{hub.url}/api/embed", json={"model": EMBED, "input": "one"}, timeout=60).raise_for_status()
    assert [one["model"] for one in hub.status()["residents"]] == [EMBED]
    run = partage_run(hub, "--memory", "450MiB", "--json", "--", "sleep", "1")
    _, said = run.communicate(timeout=60)
    states = [json.loads(line)["state"] for line in said.splitlines() if line.startswith("{")]
    assert (states[0], states[-1]) == ("waiting", "granted")
    assert run.returncode == 0
    answer = httpx.post(f"{hub.url}/api/embed", json={"model": EMBED, "input": "one"}, timeout=60)
    assert answer.status_code == 200


def test_two_leases_queue_and_the_second_says_where_it_stands(hub: HubProcess):
    first = partage_run(hub, "--memory", "400MiB", "--name", "first", "--", "sleep", "100")
    eventually(lambda: leases(hub).get("first", {}).get("state") == "held")
    second = partage_run(hub, "--memory", "400MiB", "--name", "second", "--", "sleep", "100")
    eventually(lambda: leases(hub).get("second", {}).get("position") == 1)
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=10)
    assert first.returncode == 128 + signal.SIGTERM
    eventually(lambda: leases(hub).get("second", {}).get("state") == "held", within_s=5)
    httpx.delete(f"{hub.url}/admin/leases/{leases(hub)['second']['id']}").raise_for_status()
    _, said = second.communicate(timeout=15)
    assert "waiting at place 1" in said
    assert "the hub ended the lease" in said
    assert second.returncode == 1


def test_a_holder_that_is_killed_gives_the_memory_back_and_leaves_no_process(hub: HubProcess):
    eventually(lambda: not leases(hub))
    run = partage_run(hub, "--memory", "300MiB", "--name", "killed", "--", "sh", "-c", "sleep 1000 & exec sleep 1001")
    eventually(lambda: bool(leases(hub).get("killed", {}).get("pids")))
    (pid,) = leases(hub)["killed"]["pids"]  # type: ignore[misc]
    eventually(lambda: len(psutil.Process(pid).children()) == 1)
    processes = [psutil.Process(pid), *psutil.Process(pid).children()]
    os.kill(run.pid, signal.SIGKILL)
    took_s = eventually(lambda: not leases(hub) and free_bytes(hub) == BUDGET - _models_bytes(hub), within_s=10)
    assert took_s < 5
    eventually(lambda: not any(one.is_running() and one.status() != "zombie" for one in processes))
    run.communicate()


def test_a_program_that_is_paused_by_hand_stands_still_and_can_be_ended_all_the_same(hub: HubProcess):
    run = partage_run(hub, "--memory", "50MiB", "--name", "still", "--", "sleep", "60")
    eventually(lambda: leases(hub).get("still", {}).get("state") == "held")
    lease = leases(hub)["still"]
    httpx.post(f"{hub.url}/admin/pause", json={"lease": lease["id"]}).raise_for_status()
    assert (leases(hub)["still"]["state"], leases(hub)["still"]["paused_by_hand"]) == ("paused", True)
    command = next(one for one in psutil.Process(run.pid).children(recursive=True) if one.name() == "sleep")
    eventually(lambda: command.status() == psutil.STATUS_STOPPED)
    scores = [int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in (hub.process.pid, command.pid)]
    assert scores[0] < scores[1], "the kernel would take the hub before the job"
    run.terminate()
    run.communicate(timeout=20)
    assert not command.is_running()
    eventually(lambda: not leases(hub))


DAEMON = """
import os, sys, time
if not os.fork():
    os.setsid()
    if not os.fork():
        print(os.getpid(), flush=True)
        while True:
            time.sleep(0.01)
    os._exit(0)
os.wait()
sys.stdin.readline()
"""


def test_what_a_program_has_turned_into_a_daemon_is_paused_with_it_and_ends_with_it(hub: HubProcess):
    words = ["--memory", "50MiB", "--name", "daemon", "--", sys.executable, "-c", DAEMON]
    run = partage_run(hub, *words)
    assert run.stdout is not None
    daemon = psutil.Process(int(run.stdout.readline()))
    lease = {"lease": leases(hub)["daemon"]["id"]}
    httpx.post(f"{hub.url}/admin/pause", json=lease).raise_for_status()
    eventually(lambda: daemon.status() == psutil.STATUS_STOPPED)
    httpx.post(f"{hub.url}/admin/pause", json=lease | {"paused": False}).raise_for_status()
    eventually(lambda: daemon.status() != psutil.STATUS_STOPPED)
    run.communicate("\n", timeout=20)
    assert run.returncode == 0
    assert not daemon.is_running()


def test_interrupting_a_run_that_waits_leaves_the_queue(hub: HubProcess):
    first = partage_run(hub, "--memory", "400MiB", "--name", "first", "--", "sleep", "100")
    eventually(lambda: leases(hub).get("first", {}).get("state") == "held")
    second = partage_run(hub, "--memory", "400MiB", "--name", "second", "--", "touch", "/nowhere")
    eventually(lambda: "second" in leases(hub))
    second.send_signal(signal.SIGINT)
    second.communicate(timeout=10)
    assert second.returncode == 130
    eventually(lambda: "second" not in leases(hub))
    first.terminate()
    first.communicate(timeout=10)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_signals_end_a_run_at_once_though_its_hub_is_dead_or_hangs(tmp_path: Path, how: signal.Signals):
    for folder in ("blobs", "models"):
        (tmp_path / folder).mkdir()
    with running_hub(tmp_path / "hub", tmp_path, config="devices: [{host: true, memory: 1GiB}]") as hub:
        run = partage_run(hub, "--memory", "50MiB", "--name", "alone", "--", "sleep", "100")
        eventually(lambda: bool(leases(hub).get("alone", {}).get("pids")))
        hub.process.send_signal(how)
        time.sleep(0.2)
        run.terminate()
        begun_s = time.monotonic()
        run.communicate(timeout=20)
        took_s = time.monotonic() - begun_s
        hub.process.send_signal(signal.SIGCONT)
    assert run.returncode == 128 + signal.SIGTERM
    assert took_s < 4, "it waited for the hub"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_lease_outlives_its_hub(model_home: Path, tmp_path: Path, number: signal.Signals):
    config = f"devices: [{{host: true, memory: {BUDGET}}}]"
    with running_hub(tmp_path / "hub", model_home, config=config) as first:
        run = partage_run(first, "--memory", "300MiB", "--name", "night", "--", "sleep", "100")
        eventually(lambda: bool(leases(first).get("night", {}).get("pids")))
        pids = leases(first)["night"]["pids"]
        first.process.send_signal(number)
        first.process.wait(timeout=20)
    assert run.stderr is not None
    with running_hub(tmp_path / "hub", model_home, config=config, port=int(first.url.rpartition(":")[2])) as second:
        assert (leases(second)["night"]["pids"], free_bytes(second)) == (pids, BUDGET - 300 * MIB)
        while "held again" not in (line := run.stderr.readline()):
            assert line, "it ended"
        run.terminate()
        run.communicate(timeout=20)
        eventually(lambda: not leases(second))


def test_a_program_that_takes_more_than_its_lease_is_told_and_counted(hub: HubProcess):
    eventually(lambda: not leases(hub))
    code = "import time; block = b'x' * (150 << 20); time.sleep(100)"
    run = partage_run(hub, "--memory", "50MiB", "--name", "greedy", "--", sys.executable, "-c", code)
    eventually(lambda: int(str(leases(hub).get("greedy", {}).get("bytes", 0))) > 150 * MIB)
    run.terminate()
    _, said = run.communicate(timeout=10)
    assert "warned: it uses" in said


async def test_a_program_holds_a_lease_as_a_context_and_gives_it_back(hub: HubProcess):
    async with HubClient(hub.url) as client:
        async with client.lease("100MiB", name="mine", class_="batch") as lease:
            assert lease.device == "host"
            assert not lease.paused.is_set()
            (one,) = [one for one in await client.leases() if one["name"] == "mine"]
            assert (one["class"], one["state"]) == ("batch", "held")
        took_s = await asyncio.to_thread(eventually, lambda: free_bytes(hub) == BUDGET - _models_bytes(hub))
        assert took_s < 3, "it need not wait for the end of its process"


def test_without_a_hub_the_error_says_what_to_do():
    done = subprocess.run(
        [sys.executable, "-m", "partage", "run", "--url", "http://127.0.0.1:9", "--memory", "1MiB", "--", "true"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "no hub answers" in done.stderr


def _models_bytes(hub: HubProcess) -> int:
    return sum(int(str(one["ledger_bytes"])) for one in hub.status()["residents"])


def at_a_terminal(program: str, *arguments: str) -> tuple[int, str]:
    """The status and the words of a Python program that leads a session with a terminal of its own, as a shell does."""
    pid, terminal = pty.fork()
    if not pid:
        os.execv(sys.executable, [sys.executable, "-c", program, *arguments])
    said = b""
    with contextlib.suppress(OSError):  # its end
        while read := os.read(terminal, 4096):
            said += read
            if b"press Ctrl-Z" in said:
                os.write(terminal, b"\x1a")
                said = said.replace(b"press Ctrl-Z", b"")
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said.decode()


RUN = """
import os, subprocess, sys
command = [sys.executable, "-m", "partage", "run", "--url", sys.argv[1], "--memory", "50MiB", "--", *sys.argv[3:]]
behind = sys.argv[2] == "behind"
status = subprocess.run(command, process_group=0 if behind else None).returncode
assert os.tcgetpgrp(0) == os.getpgrp(), "the terminal is somebody else's now"
sys.exit(status)
"""


def test_a_command_that_ends_at_once_is_no_trouble_at_a_terminal(hub: HubProcess):
    for _ in range(8):
        assert at_a_terminal(RUN, hub.url, "before", "true")[0] == 0


def test_a_run_in_the_background_leaves_the_terminal_to_whoever_has_it(hub: HubProcess):
    assert at_a_terminal(RUN, hub.url, "behind", "sleep", "0.5")[0] == 0


def test_ctrl_z_does_not_leave_a_holder_stopped_that_nobody_could_let_go(hub: HubProcess):
    stops = "import time; time.sleep(1); print('press Ctrl-Z', flush=True); time.sleep(1); print('went on')"
    status, said = at_a_terminal(RUN, hub.url, "before", sys.executable, "-c", stops)
    assert status == 0
    assert "went on" in said
    assert "partage pause" in said
