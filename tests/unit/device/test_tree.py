from __future__ import annotations

from pathlib import Path

import pytest

from partage.device.tree import host_bytes, tree

MIB = 1 << 20


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """1 has the children 2 and 3; 3 has 4; 5 is a zombie below 1."""
    for pid, state, children, rss, pss in (
        (1, "S", "2 3 5", 10, 10),
        (2, "R", "", 30, 20),
        (3, "S", "4", 30, 20),
        (4, "S", "", 5, 5),
        (5, "Z", "", 0, 0),
    ):
        directory = tmp_path / str(pid)
        (directory / "task" / str(pid)).mkdir(parents=True)
        (directory / "task" / str(pid) / "children").write_text(children)
        (directory / "status").write_text(f"Name:\tx\nState:\t{state} (x)\nVmRSS:\t{rss * 1024} kB\n")
        (directory / "smaps_rollup").write_text(f"Rss: {rss * 1024} kB\nPss: {pss * 1024} kB\n")
    return tmp_path


def test_a_tree_is_all_that_live_below_a_process(proc: Path):
    assert sorted(tree(1, proc)) == [1, 2, 3, 4]
    assert tree(3, proc) == [3, 4]
    assert tree(5, proc) == []
    assert tree(99, proc) == []


def test_shared_pages_are_reckoned_only_where_the_limit_hangs_on_them(proc: Path):
    assert host_bytes([1, 2, 3, 4], 100 * MIB, proc) == 75 * MIB
    assert host_bytes([1, 2, 3, 4], 60 * MIB, proc) == 55 * MIB


def test_pages_that_may_not_be_looked_at_count_in_full(proc: Path):
    (proc / "2" / "smaps_rollup").unlink()
    assert host_bytes([1, 2, 3, 4], 60 * MIB, proc) == 75 * MIB
