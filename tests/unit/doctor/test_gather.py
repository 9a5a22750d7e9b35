from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest
from anatomies import llama

from partage.config import Config, HubConfig
from partage.doctor import gather as gathering
from partage.doctor.examine import examine
from partage.doctor.gather import (
    disk_bytes_per_s,
    gather,
    in_container,
    model_files,
    model_sizes,
    pci_gpus,
    read_symptoms,
)
from partage.domain import Footprint, LaunchSettings, Model, Placement
from partage.journal_format import actions_line, event_line
from partage.models.store import Store
from partage.policy.actions import StartEngine, StopEngine
from partage.policy.events import Demand, EngineFailed, EngineReady, RequestArrived


def device(root: Path, address: str, vendor: str, class_: str) -> None:
    directory = root / "sys/bus/pci/devices" / address
    directory.mkdir(parents=True)
    (directory / "vendor").write_text(f"{vendor}\n")
    (directory / "class").write_text(f"{class_}\n")


def test_gpus_are_counted_on_the_bus_and_their_sound_devices_are_not(tmp_path: Path):
    device(tmp_path, "0000:01:00.0", "0x10de", "0x030200")
    device(tmp_path, "0000:01:00.1", "0x10de", "0x040300")
    device(tmp_path, "0000:02:00.0", "0x8086", "0x030000")
    assert pci_gpus(tmp_path) == ("0000:01:00.0",)
    assert pci_gpus(tmp_path / "nowhere") == ()


def test_a_container_is_known_by_its_marks(tmp_path: Path):
    assert not in_container(tmp_path)
    (tmp_path / ".dockerenv").touch()
    assert in_container(tmp_path)


def test_the_disk_is_measured_on_the_largest_model(tmp_path: Path):
    (tmp_path / "blobs").mkdir()
    assert disk_bytes_per_s(model_files(tmp_path)) is None
    with (tmp_path / "blobs" / "weights").open("wb") as file:
        file.truncate(9 << 20)
    (tmp_path / "blobs" / "template").write_text("small")
    (found,) = model_files(tmp_path)
    speed = disk_bytes_per_s([found])
    assert speed is not None
    assert speed > 0


def test_the_journal_tells_loads_evictions_spills_and_clients_own_keep_alive(tmp_path: Path):
    spilled = Placement(
        settings=LaunchSettings(context_tokens=1, slots=1, threads=1, gpu_layers=10),
        shares=(("GPU-0", Footprint()), ("host", Footprint())),
        speed=0.3,
    )
    lines = [
        event_line(RequestArrived(Demand(id="r1", model="m:latest", client="n8n", keep_alive_s=-1)), 10.0),
        event_line(RequestArrived(Demand(id="r2", model="m:latest", client="n8n")), 11.0),
        actions_line([StartEngine(engine="m:latest#1", model="m:latest", placement=spilled, reason="fits")], 11.0),
        event_line(EngineReady(engine="m:latest#1", load_s=70.0), 81.0),
        actions_line([StopEngine(engine="m:latest#1", reason="room for other")], 90.0),
        event_line(EngineFailed(engine="other:latest#2", reason="no memory", out_of_memory=True), 110.0),
        b"half a li",
    ]
    journal = tmp_path / "hub.jsonl"
    journal.write_bytes(b"".join(lines))
    seen = read_symptoms(journal)
    assert seen.spanned_s == 100.0
    assert (seen.loading_s, seen.slowest_load) == (70.0, ("m:latest", 70.0))
    assert (seen.evictions, seen.spills, seen.out_of_memory) == ({"m:latest": 1}, {"m:latest": 1}, {"other:latest": 1})
    assert seen.keep_alives == {"n8n": (1, 2)}
    assert read_symptoms(tmp_path / "none").spanned_s == 0.0


async def test_this_machine_can_be_gathered_and_examined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async def no_docker(path: str | None) -> tuple[None, bool]:
        return None, False

    monkeypatch.setattr(gathering, "_docker", no_docker)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = Config(home=tmp_path, hub=HubConfig(port=taken.getsockname()[1]))
        async with asyncio.timeout(30):
            machine = await gather(config, {"OLLAMA_MAX_VRAM": "1", "HOME": "/root"})
    assert machine.environment == {"OLLAMA_MAX_VRAM": "1"}
    assert machine.home_writable == os.access(tmp_path, os.W_OK)
    assert [one.service for one in machine.ports if one.holder is not None] == ["hub"]
    assert "ports" in [one.check for one in examine(machine)]


def test_a_file_of_weights_is_called_by_its_models_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "blobs").mkdir()
    for name in ("sha256-abc", "sha256-def"):
        with (tmp_path / "blobs" / name).open("wb") as file:
            file.truncate(9 << 20)
    path = str(tmp_path / "blobs" / "sha256-abc")
    model = Model(
        name="small:1b", digest="abc", path=path, anatomy=llama(layers=1), capabilities=frozenset(), size_bytes=9 << 20
    )

    def listed(store: Store) -> list[Model]:
        assert store.home == tmp_path
        return [model]

    monkeypatch.setattr(Store, "list", listed)
    assert model_sizes(tmp_path, model_files(tmp_path)) == {"small:1b": 9 << 20, "sha256-def": 9 << 20}
