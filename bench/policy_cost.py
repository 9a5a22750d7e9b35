"""What one decide() costs in wall time (the least of several runs that are alike): 1,000 models, 200 clients, 10,000 requests queued, memory for a few dozen models.

python bench/policy_cost.py [--queued 10000] [--steps 20000]
"""

from __future__ import annotations

import argparse
import heapq
import random
import time
from collections.abc import Callable

from partage.domain import Class, Device, Footprint, LaunchSettings, Placement
from partage.policy import actions, events
from partage.policy.scheduler import Scheduler
from partage.policy.settings import PolicySettings
from partage.serve.collector import look_seldom

GB = 10**9


class Town:
    """Keeps a scheduler under constant pressure: as many arrive as end, and engines start and stop as told."""

    def __init__(self, *, models: int, clients: int, queued: int, seed: int = 1) -> None:
        self.chance = random.Random(seed)
        self.clients = clients
        self.queued = queued
        self.names = [f"model{number}" for number in range(models)]
        settings = PolicySettings(queue_limit=10**9, max_wait_s=(1e9, 1e9, 1e9))
        self.scheduler = Scheduler(settings)
        self.now_s = 0.0
        self.requests = 0
        self.due: list[tuple[float, int, events.Event]] = []
        self.costs_s: list[tuple[str, float]] = []
        self.tell(events.DeviceSeen(Device(id="gpu", kind="cuda", name="gpu", total_bytes=80 * GB, contended=True)))
        for name in self.names:
            size = self.chance.choice((1, 2, 4, 8)) * GB
            placement = Placement(
                settings=LaunchSettings(context_tokens=4096, slots=8, threads=1),
                shares=(("gpu", Footprint(weights_bytes=size)),),
            )
            self.tell(
                events.ModelLearned(events.ModelProfile(model=name, placements=(placement,), load_s=size / 2.5e9))
            )

    def tell(self, event: events.Event) -> None:
        start_s = time.perf_counter()
        chosen = self.scheduler.decide(event, self.now_s)
        self.costs_s.append((type(event).__name__, time.perf_counter() - start_s))
        for action in chosen:
            match action:
                case actions.Serve(request=request):
                    self.later(
                        self.chance.expovariate(1 / 2.0), events.RequestFinished(request=request, output_tokens=100)
                    )
                case actions.StartEngine(engine=engine, placement=placement):
                    self.later(placement.total_bytes / 2.5e9, events.EngineReady(engine=engine, load_s=1.0))
                case actions.StopEngine(engine=engine):
                    self.later(0.1, events.EngineGone(engine=engine))
                case actions.WakeAt(at_s=at_s):
                    self.later(max(0.0, at_s - self.now_s), events.TimePassed())
                case _:
                    pass

    def later(self, after_s: float, event: events.Event) -> None:
        self.requests += 1
        heapq.heappush(self.due, (self.now_s + after_s, self.requests, event))

    def arrive(self) -> None:
        self.requests += 1
        index = min(len(self.names) - 1, int(self.chance.paretovariate(0.6)) - 1)
        demand = events.Demand(
            id=f"r{self.requests}",
            model=self.names[index],
            client=f"client{self.chance.randrange(self.clients)}",
            class_=self.chance.choice(list(Class)),
            prompt_tokens=500,
            output_tokens=100,
            deadline_at_s=self.now_s + 30.0 if self.chance.random() < 0.3 else None,
        )
        self.tell(events.RequestArrived(demand))

    def run(self, steps: int) -> None:
        while self.scheduler.state.queued < self.queued:
            self.now_s += 0.001
            self.arrive()
        self.costs_s.clear()
        for _ in range(steps):
            if self.scheduler.state.queued < self.queued or not self.due:
                self.now_s += 0.001
                self.arrive()
            else:
                at_s, _, event = heapq.heappop(self.due)
                self.now_s = max(self.now_s, at_s)
                self.tell(event)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--queued", type=int, default=10_000)
    options.add_argument("--steps", type=int, default=20_000)
    options.add_argument("--runs", type=int, default=4)
    chosen = options.parse_args()
    for queued in (chosen.queued // 100, chosen.queued // 10, chosen.queued):
        runs = [_run(queued, chosen.steps) for _ in range(chosen.runs)]
        # The runs are alike step by step; the least of a step leaves out when another program had the core.
        least = [(steps[0][0], min(cost for _, cost in steps)) for steps in zip(*runs, strict=True)]
        print(f"{queued:6} queued: all {_shown(sorted(cost for _, cost in least))}")
        for kind in sorted({kind for kind, _ in least}):
            costs = sorted(cost for one, cost in least if one == kind)
            print(f"              {kind:18} {len(costs):6} times, {_shown(costs)}")


def _run(queued: int, steps: int) -> list[tuple[str, float]]:
    town = Town(models=1000, clients=200, queued=queued)
    look_seldom()  # as the hub does when it is built
    town.run(steps)
    return town.costs_s


def _shown(ordered: list[float]) -> str:
    at: Callable[[float], float] = lambda share: ordered[int(share * (len(ordered) - 1))] * 1e6  # noqa: E731
    return f"median {at(0.5):6.1f} us, p99 {at(0.99):7.1f} us, worst {at(1.0):8.1f} us"


if __name__ == "__main__":
    main()
