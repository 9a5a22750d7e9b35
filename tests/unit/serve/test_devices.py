from __future__ import annotations

import logging
from pathlib import Path

import pytest

from partage.device.nvml import GpuSurvey
from partage.domain import Device
from partage.engine.builds import Build
from partage.serve.devices import complain, spare_devices, usable

GPU = Device(id="GPU-0", kind="cuda", name="NVIDIA H200", total_bytes=1, index=0)
OTHER = Device(id="GPU-1", kind="cuda", name="NVIDIA H200", total_bytes=1, index=1)
HOST = Device(id="host", kind="host", name="host memory", total_bytes=1)


def test_a_gpu_that_the_engine_cannot_use_is_not_promised_and_that_is_an_error_in_the_log(
    caplog: pytest.LogCaptureFixture,
):
    assert usable([GPU, HOST], Build(devices=())) == [HOST]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "NVIDIA H200" in record.message
    assert "NOT used" in record.message


def test_a_built_in_engine_with_cuda_keeps_the_gpus(caplog: pytest.LogCaptureFixture):
    assert usable([GPU, HOST], Build(devices=("CUDA0: NVIDIA H200",))) == [GPU, HOST]
    assert usable([HOST], Build()) == [HOST]
    assert not caplog.records


def test_a_driver_that_does_not_answer_is_named_and_a_machine_without_one_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    driver = tmp_path / "version"
    complain(GpuSurvey(error="NVML Shared Library Not Found", no_library=True), driver)
    complain(GpuSurvey(), driver)
    assert not caplog.records
    complain(GpuSurvey(error="version mismatch"), driver)
    driver.touch()
    complain(GpuSurvey(error="NVML Shared Library Not Found", no_library=True), driver)
    assert len(caplog.records) == 2


def test_the_worker_that_waits_sees_the_one_gpu_there_is():
    assert spare_devices([GPU, HOST]) == ("GPU-0",)
    assert spare_devices([GPU, OTHER, HOST]) == spare_devices([HOST]) == ("host",)
