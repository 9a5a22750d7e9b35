from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import msgspec
import pytest

from partage.engine.workers import KEEPS_STACKS

pytestmark = pytest.mark.live

TETHER = (sys.executable, "-m", "partage.worker.tether")


@pytest.mark.parametrize(
    ("flags", "printed"), [((), ("a=b word\n", "")), (("--stdout-is-log",), ("", "a=b word\n"))], ids=["stdout", "log"]
)
def test_tether_becomes_the_command_with_the_environment_it_was_given(flags: tuple[str, ...], printed: tuple[str, str]):
    command = ("sh", "-c", 'echo "$COLOUR $0"', "word")
    done = subprocess.run(
        [*TETHER, str(os.getpid()), *flags, "COLOUR=a=b", "--", *command],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.stdout, done.stderr) == printed


def test_tether_to_a_parent_that_is_gone_runs_nothing():
    done = subprocess.run([*TETHER, "1", "--", "echo", "ran"], check=False, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (1, "")
    assert "the hub is gone" in done.stderr


def test_worker_of_a_hub_that_is_gone_loads_nothing():
    orders = (
        msgspec.json.encode({"parent_pid": 1, "environment": {}})
        + b'\n{"writes_bytes": 0, "parameters": {"model.path": "/nowhere"}}\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "partage.worker"], input=orders, check=False, capture_output=True, timeout=30
    )
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"the hub is gone" in done.stderr


def test_memory_that_was_made_ready_is_given_back_where_the_load_did_not_need_it():
    script = """
        import os
        from partage.worker.memory import written_ahead

        def held():
            return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE")

        before = held()
        with written_ahead(200 << 20):
            deadline = time.monotonic() + 10
            while held() < before + (190 << 20) and time.monotonic() < deadline:
                time.sleep(0.01)
            during = held()
        print(during - before, held() - before)
    """
    done = subprocess.run(
        [sys.executable, "-c", "import time\n" + textwrap.dedent(script)],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    during, after = map(int, done.stdout.split())
    assert during > 190 << 20
    assert after < 40 << 20


def test_threads_of_a_load_start_on_stacks_that_are_there():
    script = """
        import os
        import threading
        from partage.worker.memory import STACKS, keep_stacks

        def addresses():
            return int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGESIZE")

        keep_stacks()
        before, over = addresses(), threading.Event()
        for _ in range(STACKS):
            threading.Thread(target=over.wait, daemon=True).start()
        print(addresses() - before)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, **KEEPS_STACKS},
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert int(done.stdout) < 8 << 20  # of new ones: 8 MiB each
