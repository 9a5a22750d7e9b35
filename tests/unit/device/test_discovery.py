from __future__ import annotations

import os
from pathlib import Path

import pytest

from partage.device.discovery import DeviceWish, discover, gpus_named
from partage.device.host import HostReading, read_host
from partage.device.nvml import GpuReading, read_gpus
from partage.errors import ConfigError

GIB = 1 << 30


def gpu(index: int) -> GpuReading:
    return GpuReading(uuid=f"GPU-{index}", index=index, name="Test", total_bytes=24 * GIB, used_bytes=0)


def host() -> HostReading:
    return HostReading(total_bytes=100 * GIB, available_bytes=90 * GIB, cores=8)


def test_without_a_gpu_the_host_is_the_one_device_and_promises_a_share_of_its_memory():
    (device,) = discover(gpus=list, host=host)
    assert (device.id, device.kind, device.cores) == ("host", "host", 8)
    assert device.budget_bytes == 60 * GIB


def test_every_gpu_is_used_when_none_is_configured_and_the_host_comes_last():
    devices = discover(gpus=lambda: [gpu(0), gpu(1)], host=host)
    assert [device.id for device in devices] == ["GPU-0", "GPU-1", "host"]


def test_configured_gpus_exclude_the_others_and_keep_their_reserve():
    wishes = [DeviceWish(gpu="GPU-1", reserve_bytes=GIB), DeviceWish(memory_bytes=GIB, cores=2)]
    first, last = discover(wishes, gpus=lambda: [gpu(0), gpu(1)], host=host)
    assert (first.id, first.budget_bytes) == ("GPU-1", 23 * GIB)
    assert (last.id, last.budget_bytes, last.cores) == ("host", GIB, 2)


def test_a_configured_gpu_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(ConfigError, match=r"no GPU 3.*GPU-0"):
        discover([DeviceWish(gpu=3)], gpus=lambda: [gpu(0)], host=host)


def test_a_cgroup_limit_is_the_memory_there_is(tmp_path: Path):
    (tmp_path / "memory.max").write_text(str(GIB))
    (tmp_path / "memory.current").write_text(str(GIB // 2))
    (tmp_path / "memory.stat").write_text(f"anon 1\ninactive_file {GIB // 4}\n")
    (tmp_path / "cpu.max").write_text("100000 100000")
    reading = read_host(tmp_path)
    assert reading.total_bytes == GIB
    assert reading.available_bytes <= GIB * 3 // 4
    assert reading.cores == 1


def test_an_unlimited_cgroup_leaves_the_machine_as_it_is(tmp_path: Path):
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert read_host(tmp_path).total_bytes == read_host(tmp_path / "absent").total_bytes


def test_two_threads_of_one_core_count_as_one(tmp_path: Path):
    for cpu in os.sched_getaffinity(0):
        topology = tmp_path / f"cpu{cpu}" / "topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text("0-255\n")
    assert read_host(tmp_path / "absent", tmp_path).cores == 1


def test_without_a_topology_every_processor_is_a_core(tmp_path: Path):
    assert read_host(tmp_path, tmp_path).cores == len(os.sched_getaffinity(0))


def test_reading_gpus_without_a_driver_is_an_answer_not_an_exception():
    assert isinstance(read_gpus(), list)


def test_gpus_that_cuda_visible_devices_hides_are_not_there():
    def ids(*visible: str) -> list[str]:
        return [one.id for one in discover(visible=visible, gpus=lambda: [gpu(0), gpu(1)], host=host)]

    both = ids("0", "1")
    assert ids("1") == ids(both[1]) == both[1:]
    assert ids() == ["host"]


def test_a_setting_names_gpus_by_index_by_uuid_and_by_how_one_begins():
    devices = discover([], gpus=lambda: [gpu(0), gpu(1)], host=host)
    assert gpus_named(devices, 1, "models.a.gpu") == ("GPU-1",)
    assert gpus_named(devices, ("GPU-1", 0, 1), "models.a.gpu") == ("GPU-1", "GPU-0")
    assert gpus_named(devices, "none", "models.a.gpu") == ()
    with pytest.raises(ConfigError, match=r"models\.a\.gpu: there is no GPU 2; there are: 0 \(GPU-0\), 1 \(GPU-1\)"):
        gpus_named(devices, 2, "models.a.gpu")


def test_a_gpu_that_takes_the_host_s_memory_is_used_when_it_is_said_how_much():
    def shared() -> list[GpuReading]:
        return [GpuReading(uuid="GPU-0", index=0, name="GB10", total_bytes=0, used_bytes=None)]

    assert [one.id for one in discover(gpus=shared, host=host)] == ["host"]
    first, _ = discover([DeviceWish(gpu=0, memory_bytes=64 * GIB, reserve_bytes=0)], gpus=shared, host=host)
    assert (first.id, first.budget_bytes) == ("GPU-0", 64 * GIB)
