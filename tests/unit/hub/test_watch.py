from __future__ import annotations

import asyncio
import errno
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from partage.device.attribution import LOADING, Holdings, Owner, OwnerKind
from partage.device.host import HostReading
from partage.domain import Device, Footprint, LaunchSettings, Placement
from partage.engine.fake import Behaviour
from partage.hub.overheads import Overheads
from partage.hub.watch import look, watch_devices
from partage.hub.weighing import Weigher

from .conftest import CHAT, MIB, SLOW, House, text_of

TOTAL = 1000 * MIB


class OpenHouse(Protocol):
    def __call__(
        self, *, gpu_bytes: int = ..., placements: tuple[Placement, ...] = ...
    ) -> AbstractAsyncContextManager[House]: ...


def on_gpu(size: int, *, slots: int = 2, overhead: int = 0) -> Placement:
    return Placement(
        settings=LaunchSettings(context_tokens=4096, slots=slots, threads=0),
        shares=(("gpu", Footprint(weights_bytes=size - overhead, overhead_bytes=overhead)),),
    )


def gpu(*held: tuple[OwnerKind, str, int], seen: bool = True, system: int = 0) -> Holdings:
    owners = tuple(Owner(kind=kind, name=name, pid=7, used_bytes=size) for kind, name, size in held)
    used = system + sum(size for _, _, size in held)
    return Holdings(device="gpu", total_bytes=TOTAL, used_bytes=used, owners=owners if seen else None)


def seconds_pass(house: House, reading: Holdings) -> int:
    """One look at the machine; what the policy thinks that others hold."""
    look(house.hub, Weigher(), TOTAL, [reading])
    return next(view.strangers_bytes for view in house.hub.scheduler.ledger_view() if view.device == "gpu")


async def test_what_strangers_take_and_give_back_is_known_at_the_next_look(open_house: OpenHouse):
    async with open_house(gpu_bytes=TOTAL) as house:
        assert seconds_pass(house, gpu(("stranger", "train.py", 700 * MIB))) == 700 * MIB
        assert seconds_pass(house, gpu(("container", "jupyter", 300 * MIB))) == 300 * MIB
        assert seconds_pass(house, gpu()) == 0


async def test_strangers_do_not_hide_behind_an_engine_that_is_still_loading(open_house: OpenHouse):
    async with open_house(gpu_bytes=TOTAL, placements=(on_gpu(600 * MIB),)) as house, asyncio.TaskGroup() as tasks:
        tasks.create_task(text_of(house.admit(CHAT)))
        await house.time.advance(0.5)
        reading = gpu(("engine", LOADING, 50 * MIB), ("stranger", "train.py", 300 * MIB))
        assert seconds_pass(house, reading) == 300 * MIB, "not 0, which is what is missing so far"
        await house.time.advance(10)


async def test_where_the_driver_names_nobody_strangers_are_what_is_missing(open_house: OpenHouse):
    async with open_house(gpu_bytes=TOTAL) as house:
        assert seconds_pass(house, gpu(("stranger", "?", 400 * MIB), seen=False)) == 400 * MIB
        assert seconds_pass(house, gpu(("unseen", "?", 300 * MIB))) == 300 * MIB


async def test_engines_that_the_driver_does_not_list_are_no_strangers(open_house: OpenHouse):
    async with (
        open_house(gpu_bytes=TOTAL, placements=(on_gpu(600 * MIB),)) as house,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(text_of(house.admit(CHAT)))
        await house.time.advance(10)
        assert seconds_pass(house, gpu(system=600 * MIB)) == 0
        assert seconds_pass(house, gpu(system=800 * MIB)) == 200 * MIB


async def test_the_driver_s_figure_replaces_the_estimate_and_teaches_what_a_process_costs(open_house: OpenHouse):
    place = on_gpu(500 * MIB, overhead=200 * MIB)
    learned: list[tuple[str, int]] = []
    async with open_house(gpu_bytes=TOTAL, placements=(place,)) as house, asyncio.TaskGroup() as tasks:
        house.behaviour = replace(SLOW, measured_bytes=(("gpu", 290 * MIB),))
        tasks.create_task(text_of(house.admit(CHAT)))
        await house.time.advance(1.1)
        (view,) = house.hub.scheduler.residents_view()
        assert view.bytes_ == (("gpu", 490 * MIB),), "its buffers, and what a process is thought to cost"
        weigher = Weigher(lambda device, size: learned.append((device, size)))
        sizes: list[int] = []
        for size in (640, 600, 700):
            weigher.weigh(house.hub, [gpu(("engine", view.engine, size * MIB))])
            (after,) = house.hub.scheduler.residents_view()
            sizes.append(dict(after.bytes_)["gpu"] // MIB)
        assert sizes == [640, 640, 700], "as measured at first, then whatever it grows to"
        assert learned == [("gpu", 350 * MIB), ("gpu", 410 * MIB)]
        await house.time.advance(10)


async def test_a_projector_is_counted_and_is_not_taken_for_what_a_process_costs(open_house: OpenHouse):
    footprint = Footprint(weights_bytes=300 * MIB, overhead_bytes=100 * MIB, projector_bytes=80 * MIB)
    place = replace(on_gpu(0), shares=(("gpu", footprint),))
    learned: list[int] = []
    async with open_house(gpu_bytes=TOTAL, placements=(place,)) as house, asyncio.TaskGroup() as tasks:
        house.behaviour = replace(SLOW, measured_bytes=(("gpu", 290 * MIB),))
        tasks.create_task(text_of(house.admit(CHAT)))
        await house.time.advance(1.1)
        (view,) = house.hub.scheduler.residents_view()
        assert view.bytes_ == (("gpu", 470 * MIB),)
        resident = house.hub.residents.running[view.engine]
        resident.model = replace(resident.model, projector_path="mmproj.gguf")
        Weigher(lambda _device, size: learned.append(size)).weigh(house.hub, [gpu(("engine", view.engine, 500 * MIB))])
        assert learned == []
        await house.time.advance(10)


def test_what_a_process_costs_is_remembered_and_used_for_estimates(tmp_path: Path):
    device = Device(id="gpu", kind="cuda", name="gpu", total_bytes=TOTAL)
    path = tmp_path / "home" / "overheads.json"
    overheads = Overheads(path)
    assert overheads.applied([device])[0].overhead_bytes is None
    assert overheads.learn("gpu", 350 * MIB)
    assert not overheads.learn("gpu", 340 * MIB)
    assert Overheads(path).applied([device])[0].overhead_bytes == 350 * MIB
    path.write_text("no json")
    assert Overheads(path).applied([device])[0].overhead_bytes is None


@pytest.mark.parametrize("tries", [2, 3])
async def test_a_load_that_runs_out_of_memory_is_tried_smaller_and_its_clients_only_wait_longer(
    open_house: OpenHouse, tries: int
):
    places = tuple(on_gpu(size * MIB, slots=slots) for size, slots in ((900, 4), (600, 2), (300, 1)))
    async with open_house(gpu_bytes=TOTAL, placements=places) as house, asyncio.TaskGroup() as tasks:
        house.behaviour = Behaviour(load_s=1.0)
        house.room_bytes = places[tries - 1].total_bytes
        asked = [tasks.create_task(text_of(house.admit(CHAT))) for _ in range(3)]
        await house.pass_time(20)
        assert all([(await one).startswith("Hello") for one in asked])
        assert len(house.engines) == tries
        (view,) = house.hub.scheduler.residents_view()
        assert view.placement == places[tries - 1]


async def test_the_best_placement_is_tried_again_a_while_after_it_was_too_large(open_house: OpenHouse):
    places = (on_gpu(900 * MIB), on_gpu(300 * MIB))
    async with open_house(gpu_bytes=TOTAL, placements=places) as house, asyncio.TaskGroup() as tasks:
        house.room_bytes = 300 * MIB
        first = tasks.create_task(text_of(house.admit(CHAT)))
        await house.pass_time(10)
        await first
        house.room_bytes = None
        await house.pass_time(1000)  # its keep-alive is over
        assert house.hub.scheduler.residents_view() == ()
        again = tasks.create_task(text_of(house.admit(CHAT)))
        await house.pass_time(10)
        await again
        (view,) = house.hub.scheduler.residents_view()
        assert view.placement == places[0]


async def test_a_second_that_cannot_be_read_does_not_end_the_hub(
    open_house: OpenHouse, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("partage.hub.watch.EVERY_S", 0.0)
    read_again = asyncio.Event()
    answers = iter([OSError(errno.EMFILE, "Too many open files")])

    def host() -> HostReading:
        for error in answers:
            raise error
        read_again.set()
        return HostReading(total_bytes=TOTAL, available_bytes=TOTAL, cores=4)

    async with open_house() as house, asyncio.timeout(10), watch_devices(house.hub, Weigher(), host=host):
        await read_again.wait()
