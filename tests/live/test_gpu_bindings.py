"""The hub on a machine whose driver is fake, and everything between them real: pynvml, cuda.core, the processes.

`support/fake_driver.c` stands for libnvidia-ml and libcuda; its GPU is a text file that the test writes. A llama-server that
computes on the CPU stands for the engine. The tests that park need cuda-core (the extra `gpu`).
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from eventually import eventually
from hub_process import HubProcess, running_hub
from stand_in_server import WITH_CUDA, WITHOUT, write_stand_in

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: the fake driver cannot be built"),
]
needs_cuda_core = pytest.mark.skipif(
    importlib.util.find_spec("cuda") is None or importlib.util.find_spec("cuda.core") is None,
    reason="cuda-core is not installed",
)

SOURCE = Path(__file__).parent.parent / "support" / "fake_driver.c"
CHAT, EMBED = "smollm2:135m", "all-minilm:22m"
EACH_MIB = 700
MIB = 1 << 20
GPU_MIB, RESERVED_MIB = 16_000, 600


class Driver:
    """The fake one, and the file it reads."""

    def __init__(self, directory: Path) -> None:
        self.uuid = f"GPU-{uuid.uuid4()}"
        self.file = directory / "gpu"
        self.say()

    def say(self, *more: str, code: int = 0, total_mib: int = GPU_MIB) -> None:
        gpu = f"gpu 0 {self.uuid} {total_mib} {RESERVED_MIB} 0 {code}"
        beside = self.file.with_name("next")
        beside.write_text("\n".join([gpu, f"each {EACH_MIB}", *more]) + "\n")
        beside.replace(self.file)

    def state(self, pid: int) -> str:
        return Path(f"{self.file}.{pid}").read_text()


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Driver:
    """Loaded by every process that is started from here on."""
    libraries = tmp_path / "driver"
    libraries.mkdir()
    built = libraries / "libcuda.so.1"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(built), str(SOURCE), "-ldl"], check=True, timeout=60)
    (libraries / "libnvidia-ml.so.1").symlink_to(built)
    driver = Driver(tmp_path)
    monkeypatch.setenv("FAKE_GPU", str(driver.file))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(libraries))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return driver


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Puts a llama-server with these devices on the PATH."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return lambda devices: write_stand_in(programs / "llama-server", devices)


def partage(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "partage", *words],
        env={**os.environ, "PARTAGE_HOME": str(home), "PARTAGE_HUB_URL": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def chat(hub: HubProcess, model: str = CHAT) -> None:
    words = {"model": model, "prompt": "Hello", "stream": False, "options": {"num_predict": 4}}
    httpx.post(f"{hub.url}/api/generate", json=words, timeout=60).raise_for_status()


def gpu_of(hub: HubProcess, driver: Driver) -> dict[str, object]:
    return next(one for one in hub.status()["devices"] if one["id"] == driver.uuid)


def standing(hub: HubProcess) -> list[str]:
    return [one["rule"] for one in httpx.get(f"{hub.url}/admin/alerts").json()["standing"]]


def test_a_gpu_is_promised_measured_shared_with_strangers_lost_and_found(
    driver: Driver, engine: Callable[[str], Path], model_home: Path, tmp_path: Path
):
    engine(WITH_CUDA)
    with running_hub(tmp_path / "hub", model_home) as hub:
        whole = gpu_of(hub, driver)["free_bytes"]
        assert whole == (GPU_MIB - RESERVED_MIB - 512) * MIB, "the driver's share and the reserve are nobody's"
        chat(hub)
        eventually(lambda: hub.status()["residents"][0]["ledger_bytes"] == EACH_MIB * MIB)
        (resident,) = hub.status()["residents"]
        assert resident["devices"] == [driver.uuid]

        driver.say("proc 0 1 5000")
        eventually(lambda: gpu_of(hub, driver)["strangers_bytes"] == (5000 - 512) * MIB)
        driver.say("proc 0 1 100")
        eventually(lambda: gpu_of(hub, driver)["strangers_bytes"] == 0)
        driver.say("hide")  # as in a container: our own engine must not become a stranger
        eventually(lambda: hub_sees(hub, owners=0))
        assert gpu_of(hub, driver)["strangers_bytes"] == 0

        driver.say(code=15)
        eventually(lambda: "gpu_lost" in standing(hub))
        chat(hub)  # what is loaded may still answer: only the driver can tell
        driver.say()
        eventually(lambda: "gpu_lost" not in standing(hub))


def hub_sees(hub: HubProcess, *, owners: int) -> bool:
    (gpu,) = httpx.get(f"{hub.url}/admin/machine").json()["gpus"]
    return len(gpu["owners"]) == owners


def test_a_gpu_whose_engine_is_for_the_cpu_is_named_everywhere(
    driver: Driver, engine: Callable[[str], Path], model_home: Path, tmp_path: Path
):
    server, home = engine(WITHOUT), tmp_path / "hub"
    with running_hub(home, model_home) as hub:
        assert [one["id"] for one in hub.status()["devices"]] == ["host"]
        chat(hub)
        eventually(lambda: "cpu_fallback" in standing(hub))
    log = (home / "hub.log").read_text()
    assert "NOT used" in log
    assert f"{server} can only use the CPU" in log
    shown = partage(home, "engine")
    assert (shown.returncode, "partage engine build" in shown.stdout) == (1, True)
    findings = json.loads(partage(home, "doctor", "--json").stdout)["findings"]
    assert [one["severity"] for one in findings if one["check"] == "engine_build"] == ["error"]


def test_a_driver_that_was_upgraded_under_its_kernel_module_is_told_apart_from_no_gpu(
    driver: Driver, engine: Callable[[str], Path], model_home: Path, tmp_path: Path
):
    engine(WITH_CUDA)
    driver.say("init 18")
    with running_hub(tmp_path / "hub", model_home) as hub:
        assert [one["id"] for one in hub.status()["devices"]] == ["host"]
    assert "version mismatch" in (tmp_path / "hub" / "hub.log").read_text()
    findings = json.loads(partage(tmp_path / "hub", "doctor", "--json").stdout)["findings"]
    assert any("sudo reboot" in str(one["mend"]) for one in findings if one["check"] == "device_access")


@needs_cuda_core
def test_an_idle_engine_is_parked_and_comes_back_without_a_load(
    driver: Driver, engine: Callable[[str], Path], model_home: Path, tmp_path: Path
):
    engine(WITH_CUDA)
    config = f"devices: [{{gpu: {driver.uuid}, memory: 1200MiB, reserve: 0}}]\nmodels: {{'{CHAT}': {{context: 512, slots: 1}}}}\n"
    with running_hub(tmp_path / "hub", model_home, config=config) as hub:
        chat(hub)
        (first,) = hub.status()["residents"]
        answer = httpx.post(f"{hub.url}/api/embed", json={"model": EMBED, "input": "a"}, timeout=60)
        assert answer.status_code == 200, answer.text
        assert driver.state(int(str(first["pid"]))) == "checkpointed"
        chat(hub)
        assert driver.state(int(str(first["pid"]))) == "running"
        assert first["pid"] in [one["pid"] for one in hub.status()["residents"]], "the same process, not another load"


@needs_cuda_core
@pytest.mark.parametrize(
    ("step", "left"), [("lock", "running"), ("checkpoint", "running"), ("restore", "checkpointed")]
)
def test_what_the_driver_refuses_is_park_failed_and_leaves_the_process_as_documented(
    driver: Driver, tmp_path: Path, step: str, left: str
):
    program = """
import os, sys
from partage.device.checkpoint import find_checkpoint
from partage.errors import ParkFailed
found = find_checkpoint("580.65.06")
try:
    found.park(int(sys.argv[1]))
    found.unpark(int(sys.argv[1]))
except ParkFailed as error:
    print(error.message)
"""
    driver.say(f"fail {step} 801")
    child = subprocess.Popen(["sleep", "60"])
    try:
        said = subprocess.run(
            [sys.executable, "-c", program, str(child.pid)], capture_output=True, text=True, check=True, timeout=60
        )
        assert "not supported" in said.stdout, said.stdout
        assert left == "running" if not Path(f"{driver.file}.{child.pid}").exists() else driver.state(child.pid) == left
    finally:
        child.kill()
        child.wait()


def test_a_driver_without_libcuda_parks_nothing_and_the_hub_goes_on(driver: Driver):
    Path(os.environ["LD_LIBRARY_PATH"], "libcuda.so.1").rename(Path(os.environ["LD_LIBRARY_PATH"], "gone"))
    program = "from partage.device.checkpoint import find_checkpoint; print(find_checkpoint('580.65.06'))"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout.strip() == "None"
