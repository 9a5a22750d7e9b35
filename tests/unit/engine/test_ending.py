from __future__ import annotations

import signal
from pathlib import Path

from partage.engine.ending import in_words, oom_kills


def test_the_kernels_kills_are_counted_in_our_cgroup_else_on_the_machine(tmp_path: Path):
    cgroup, machine = tmp_path / "memory.events", tmp_path / "vmstat"
    assert oom_kills(cgroup, machine) == 0
    machine.write_text("pgfault 12\noom_kill 7\n")
    assert oom_kills(cgroup, machine) == 7
    cgroup.write_text("low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\noom_group_kill 0\n")
    assert oom_kills(cgroup, machine) == 2


def test_only_a_kill_that_the_kernel_counted_is_said_to_be_for_memory():
    assert "memory ran out" in in_words(-signal.SIGKILL, killed_for_memory=True)
    assert in_words(-signal.SIGKILL, killed_for_memory=False) == "SIGKILL"
    assert in_words(-signal.SIGSEGV, killed_for_memory=True) == "SIGSEGV"
    assert in_words(1, killed_for_memory=True) == "exit code 1"
