from __future__ import annotations

import pynvml

from partage.device.fake_nvml import FakeGpu, FakeNvml
from partage.device.nvml import GpuProcess, Nvml

GIB = 1 << 30


def test_a_gpu_is_read_whole():
    survey = Nvml(FakeNvml([FakeGpu(throttles=0x1 | 0x4 | 0x40)])).read()
    (gpu,) = survey.gpus
    assert (gpu.uuid, gpu.index, gpu.total_bytes, gpu.used_bytes) == ("GPU-0", 0, 80 * GIB, 2 * GIB)
    assert gpu.processes == (GpuProcess(4242, GIB),)
    assert (gpu.utilisation_percent, gpu.temperature_c, gpu.power_w, gpu.sm_clock_mhz) == (37, 41, 118.5, 1980)
    assert gpu.throttles == ("power cap", "temperature (hardware)")
    assert (gpu.compute_mode, gpu.mig, gpu.persistence, gpu.ecc_uncorrected) == ("default", False, True, 0)
    assert (survey.error, survey.driver_version, survey.cuda_version) == (None, "580.65.06", "13.0")


def test_a_reading_that_is_not_supported_is_none_and_the_others_stand():
    bare = FakeGpu(
        processes=None, utilisation=None, temperature_c=None, power_mw=None, throttles=None, ecc=None, mig=None
    )
    (gpu,) = Nvml(FakeNvml([bare])).read().gpus
    assert gpu.used_bytes == 2 * GIB
    assert [gpu.processes, gpu.utilisation_percent, gpu.temperature_c, gpu.power_w, gpu.throttles] == [None] * 5
    assert [gpu.ecc_uncorrected, gpu.mig] == [None, None]


def test_a_gpu_that_fell_away_is_an_error_beside_the_readings_of_the_others():
    library = FakeNvml([FakeGpu(uuid="GPU-0"), FakeGpu(uuid="GPU-1", lost=True)])
    survey = Nvml(library).read()
    assert [gpu.uuid for gpu in survey.gpus] == ["GPU-0"]
    assert survey.error is not None
    assert "GPU 1" in survey.error


def test_a_container_that_lost_its_devices_says_unknown_error_and_sees_them_again_when_they_are_back():
    library = FakeNvml([FakeGpu()])
    nvml = Nvml(library)
    assert nvml.read().error is None
    library.fails = pynvml.NVML_ERROR_UNKNOWN
    lost = nvml.read()
    assert (lost.gpus, lost.error, lost.no_library) == ((), "Unknown Error", False)
    library.fails = None
    assert len(nvml.read().gpus) == 1


def test_a_machine_without_the_library_is_told_from_one_whose_driver_fails():
    assert Nvml(FakeNvml(fails=pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)).read().no_library
    assert not Nvml(FakeNvml(fails=pynvml.NVML_ERROR_DRIVER_NOT_LOADED)).read().no_library


def test_nvml_stays_open_between_readings_and_is_closed_at_the_end():
    library = FakeNvml([FakeGpu()])
    nvml = Nvml(library)
    nvml.read()
    nvml.read()
    assert library.opened == 1
    nvml.close()
    assert library.opened == 0


def test_error_events_are_reported_once():
    library = FakeNvml([FakeGpu()], xids=[(0, 79), (0, 31)])
    nvml = Nvml(library)
    assert nvml.read().xids == (("GPU-0", 79), ("GPU-0", 31))
    assert nvml.read().xids == ()


def test_what_the_driver_sets_aside_is_no_memory_of_the_gpu_and_is_not_used_by_anybody():
    (gpu,) = Nvml(FakeNvml([FakeGpu(reserved_bytes=GIB)])).read().gpus
    assert (gpu.total_bytes, gpu.used_bytes) == (79 * GIB, 2 * GIB)


def test_a_driver_that_does_not_tell_them_apart_is_taken_at_its_word():
    (gpu,) = Nvml(FakeNvml([FakeGpu(reserved_bytes=None)])).read().gpus
    assert (gpu.total_bytes, gpu.used_bytes) == (80 * GIB, 2 * GIB)


def test_a_gpu_without_memory_of_its_own_is_there_and_no_error():
    survey = Nvml(FakeNvml([FakeGpu(total_bytes=None)])).read()
    assert survey.error is None
    assert [(gpu.total_bytes, gpu.used_bytes) for gpu in survey.gpus] == [(0, None)]


def test_a_driver_that_is_too_old_to_list_processes_is_read_all_the_same():
    class Old(FakeNvml):
        def _nvmlDeviceGetComputeRunningProcesses(self, gpu: FakeGpu) -> list[object]:  # noqa: N802
            raise pynvml.NVMLLibraryMismatchError

    (gpu,) = Nvml(Old([FakeGpu()])).read().gpus
    assert (gpu.processes, gpu.used_bytes) == (None, 2 * GIB)
