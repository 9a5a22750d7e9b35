from __future__ import annotations

from pathlib import Path

import pytest

from partage.hub.journal import Journal
from partage.policy.events import TimePassed


def test_both_files_stay_below_the_limit_and_hold_whole_lines(tmp_path: Path):
    path = tmp_path / "journal" / "hub.jsonl"
    with Journal(path, 2000) as journal:
        for second in range(500):
            journal.write(float(second), TimePassed(), ())
    files = [path, path.with_name("hub.jsonl.1")]
    assert sum(file.stat().st_size for file in files) <= 2100
    assert all(line.startswith("{") and line.endswith("}") for file in files for line in file.read_text().splitlines())


@pytest.mark.parametrize("writes", [1, 10_000])
def test_a_full_disk_ends_the_journal_and_not_the_hub(tmp_path: Path, writes: int, caplog: pytest.LogCaptureFixture):
    path = tmp_path / "hub.jsonl"
    path.symlink_to("/dev/full")
    with Journal(path, 1 << 20) as journal:
        for second in range(writes):
            journal.write(0.001 * second, TimePassed(), ())
    assert [one.getMessage() for one in caplog.records] == [
        "no journal from now on: [Errno 28] No space left on device"
    ]


def test_a_directory_that_cannot_be_made_ends_the_journal_and_not_the_hub(tmp_path: Path):
    (tmp_path / "journal").write_text("a file in its place")
    with Journal(tmp_path / "journal" / "hub.jsonl", 1 << 20) as journal:
        journal.write(0.0, TimePassed(), ())
