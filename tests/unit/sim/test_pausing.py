from __future__ import annotations

from dataclasses import replace

import pytest

from partage.domain import Class
from partage.policy.events import Demand
from partage.policy.scheduler import Scheduler
from partage.policy.settings import PolicySettings
from partage.sim.machine import gpus
from partage.sim.run import World
from partage.sim.workload import BATCH_GOAL, GB, Arrival, SimModel, Workload


def answered_s(*, contended: bool) -> list[float]:
    """When the job and the chat were done: ten and two seconds of work alone, the chat comes at 5 s."""
    machine = gpus(80 * GB)
    machine = replace(machine, devices=[replace(device, contended=contended) for device in machine.devices])
    models = [
        SimModel(name=name, size_bytes=GB, prefill_tokens_per_s=1e6, decode_tokens_per_s=100.0)
        for name in ("job", "chat")
    ]
    arrivals = [
        Arrival(
            at_s=0.0,
            demand=Demand(id="0", model="job", client="job", class_=Class.BATCH),
            output_tokens=1000,
            goal=BATCH_GOAL,
        ),
        Arrival(
            at_s=5.0,
            demand=Demand(id="1", model="chat", client="ana", class_=Class.INTERACTIVE),
            output_tokens=150,
            goal=BATCH_GOAL,
        ),
    ]
    world = World(
        machine, Workload(name="two", models=models, arrivals=arrivals, until_s=10.0), Scheduler(PolicySettings())
    )
    return list(world.run().finished_s)


def test_paused_engine_makes_no_progress_and_ends_later_by_the_length_of_its_pause() -> None:
    job_s, chat_s = answered_s(contended=True)
    loaded_s = gpus(80 * GB).load_s(GB)
    assert chat_s == pytest.approx(5.0 + loaded_s + 1.5, abs=0.01)
    assert job_s == pytest.approx(loaded_s + 10.0 + 1.5, abs=0.01)


def test_nothing_is_paused_where_the_cost_model_knows_no_contention() -> None:
    job_s, chat_s = answered_s(contended=False)
    assert job_s == pytest.approx(gpus(80 * GB).load_s(GB) + 10.0 + 1.5, abs=0.01)
    assert chat_s > 5.0 + gpus(80 * GB).load_s(GB) + 2.5, "they share the device evenly"
