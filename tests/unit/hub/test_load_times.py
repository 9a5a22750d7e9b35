from __future__ import annotations

from pathlib import Path

import pytest

from partage.hub.load_times import DISK_BYTES_PER_S, LoadTimes

GB = 10**9
MODEL = ("sha256:a", "host", 2 * GB, 1.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "loads.json"


def test_a_guess_stands_until_a_load_was_measured_and_the_disk_comes_on_top(path: Path):
    times = LoadTimes(path)
    assert times.expected_s(*MODEL, 1.0) == times.expected_s(*MODEL, None) == 1.0
    assert times.expected_s(*MODEL, 0.0) == pytest.approx(1.0 + 2 * GB / DISK_BYTES_PER_S)
    assert times.expected_s(*MODEL, 0.5) == pytest.approx(2.0)


def test_what_was_measured_is_known_after_a_restart_per_model_and_kind_of_device(path: Path):
    LoadTimes(path).learn(*MODEL, 1.0, 0.5)
    times = LoadTimes(path)
    assert times.expected_s(*MODEL, 1.0) == 0.5
    assert times.expected_s("sha256:a", "cuda", 2 * GB, 1.0, 1.0) == 1.0
    assert times.expected_s("sha256:b", "host", 2 * GB, 1.0, 1.0) == 1.0


def test_a_load_from_disk_tells_what_the_disk_does_for_other_models_too(path: Path):
    times = LoadTimes(path)
    times.learn(*MODEL, 1.0, 0.5)
    times.learn(*MODEL, 0.0, 10.5)  # 0.2 GB/s, half of it believed at once
    assert times.expected_s(*MODEL, 0.0) == 10.5
    assert times.expected_s("sha256:b", "host", 6 * GB, 1.0, 0.0) == pytest.approx(1.0 + 6 / 0.6)


def test_a_load_that_found_half_of_it_cached_is_taken_for_what_a_whole_one_would_cost(path: Path):
    times = LoadTimes(path)
    times.learn(*MODEL, 1.0, 1.0)
    times.learn(*MODEL, 0.5, 3.0)
    assert times.expected_s(*MODEL, 0.0) == pytest.approx(5.0)


def test_later_loads_count_half(path: Path):
    times = LoadTimes(path)
    for load_s in (1.0, 2.0, 0.5):
        times.learn(*MODEL, 1.0, load_s)
    assert times.expected_s(*MODEL, 1.0) == 1.0


def test_loads_from_where_the_filesystem_cannot_say_teach_nothing(path: Path):
    times = LoadTimes(path)
    times.learn(*MODEL, None, 9.0)
    assert times.expected_s(*MODEL, 1.0) == 1.0


@pytest.mark.parametrize("found", [b"{", b"\0" * 100, b'{"models": {"\xff": 1}}', b'{"models": 7}'])
def test_unreadable_file_is_learned_anew(path: Path, found: bytes):
    path.parent.mkdir()
    path.write_bytes(found)
    times = LoadTimes(path)
    times.learn(*MODEL, 1.0, 0.25)
    assert LoadTimes(path).expected_s(*MODEL, 1.0) == 0.25
