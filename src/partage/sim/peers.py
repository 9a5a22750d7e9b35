"""How others decide, so that a comparison is with what they really do: Ollama, llama-swap, plain LRU, and no limit at all.

Each follows its source as read in November 2026, weaknesses included; tests/unit/sim/test_peers.py shows each weakness.
They speak the policy's own events and actions, so that the simulator runs them as it runs ours.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import combinations

from partage.domain import Device, DeviceId, EngineId, Placement, RequestId
from partage.policy import events
from partage.policy.actions import Action, Refuse, Serve, StartEngine, StopEngine, WakeAt
from partage.policy.events import Demand, Event, ModelProfile


@dataclass(slots=True)
class Runner:
    engine: EngineId
    model: str
    placement: Placement
    ready: bool = False
    stopping: bool = False
    serving: set[RequestId] = field(default_factory=set[RequestId])
    waiting: deque[Demand] = field(default_factory=deque[Demand])
    """Let in already, without a slot yet."""
    used_s: float = 0.0
    expires_s: float = float("inf")

    @property
    def referred(self) -> int:
        return len(self.serving) + len(self.waiting)


class Peer:
    """What all of them share: runners, slots, free memory, and the word for each event."""

    slots: int | None = None
    """None: as the model's placement says."""

    def __init__(self) -> None:
        self.devices: dict[DeviceId, Device] = {}
        self.profiles: dict[str, ModelProfile] = {}
        self.runners: dict[str, Runner] = {}
        self.of_request: dict[RequestId, Runner] = {}
        self.out: list[Action] = []
        self.now_s = 0.0
        self.starts = 0

    def decide(self, event: Event, now_s: float) -> list[Action]:
        self.now_s, self.out = now_s, []
        match event:
            case events.DeviceSeen(device=device):
                self.devices[device.id] = device
            case events.ModelLearned(profile=profile):
                self.profiles[profile.model] = profile
            case events.RequestArrived(demand=demand) if not self.profiles[demand.model].placements:
                self.out.append(Refuse(request=demand.id, kind="cannot_fit", message="larger than the machine"))
            case events.RequestArrived(demand=demand):
                self.arrived(demand)
            case events.RequestFinished(request=request):
                self.finished(request)
            case events.EngineReady(engine=engine):
                runner = self.runner_of(engine)
                runner.ready, runner.used_s = True, now_s
                self.fill(runner)
            case events.EngineGone(engine=engine):
                del self.runners[self.runner_of(engine).model]
            case _:
                pass
        self.step()
        return self.out

    def arrived(self, demand: Demand) -> None:
        raise NotImplementedError

    def step(self) -> None:
        """Whatever it does after every event."""

    def runner_of(self, engine: EngineId) -> Runner:
        return self.runners[engine.rpartition("#")[0]]

    def finished(self, request: RequestId) -> None:
        runner = self.of_request.pop(request)
        runner.serving.discard(request)
        runner.used_s = self.now_s
        self.fill(runner)

    def let_in(self, runner: Runner, demand: Demand) -> None:
        runner.waiting.append(demand)
        self.fill(runner)

    def fill(self, runner: Runner) -> None:
        slots = 1 if runner.placement.settings.embedding and self.slots else self.slots
        limit = slots or runner.placement.settings.slots
        while runner.ready and not runner.stopping and runner.waiting and len(runner.serving) < limit:
            demand = runner.waiting.popleft()
            runner.serving.add(demand.id)
            self.of_request[demand.id] = runner
            self.out.append(Serve(request=demand.id, engine=runner.engine))

    def free_bytes(self, device: DeviceId) -> int:
        held = sum(runner.placement.bytes_on(device) for runner in self.runners.values())
        return self.devices[device].budget_bytes - held

    def fitting(self, model: str) -> Placement | None:
        for placement in self.profiles[model].placements:
            if all(share.total_bytes <= self.free_bytes(device) for device, share in placement.shares):
                return placement
        return None

    def start(self, model: str, placement: Placement) -> Runner:
        self.starts += 1
        runner = self.runners[model] = Runner(f"{model}#{self.starts}", model, placement)
        self.out.append(StartEngine(engine=runner.engine, model=model, placement=placement, reason="asked for"))
        return runner

    def stop(self, runner: Runner) -> None:
        runner.stopping = True
        self.out.append(StopEngine(engine=runner.engine, reason="chosen to leave"))

    def refuse(self, demand: Demand) -> None:
        self.out.append(Refuse(request=demand.id, kind="queue_full", message="busy", retry_after_s=1.0))


class Ollama(Peer):
    """server/sched.go: one queue whose head blocks, loaded models pass it, the victim is picked by name and may stay busy.

    1. A request for a loaded model goes straight in, even while that model is being drained for another.
    2. Everything else waits in one FIFO; only its head is looked at, until it has been loaded.
    3. Beside others, a model is loaded only if it needs no more than 80 % of what is free; else one of them leaves first.
    4. Victim: shortest keep-alive (all alike here), then the blob's path (the name here); the first idle one, else the first.
    """

    max_queue = 512
    keep_alive_s = 300.0

    def __init__(self, parallel: int = 1) -> None:
        super().__init__()
        self.slots = parallel
        self.pending: deque[Demand] = deque()
        self.loading: Runner | None = None
        self.victim: Runner | None = None

    def arrived(self, demand: Demand) -> None:
        runner = self.runners.get(demand.model)
        if runner is not None and not runner.stopping:
            self.let_in(runner, demand)
        elif len(self.pending) >= self.max_queue:
            self.refuse(demand)
        else:
            self.pending.append(demand)

    def step(self) -> None:
        if self.loading is not None and self.loading.ready:
            self.loading = None
        if self.victim is not None and self.runners.get(self.victim.model) is not self.victim:
            self.victim = None
        self._process_pending()
        self._expire()

    def _process_pending(self) -> None:
        while self.pending and self.loading is None:
            head = self.pending[0]
            runner = self.runners.get(head.model)
            if runner is not None and not runner.stopping:
                self.let_in(runner, self.pending.popleft())
                continue
            if self.victim is not None:
                if not self.victim.stopping and not self.victim.referred:
                    self.stop(self.victim)
                return
            if runner is not None:
                return
            placement = self.fitting(head.model) if len(self.runners) < 3 * len(self.devices) else None
            if placement is not None:
                self.loading = self.start(head.model, placement)
                self.let_in(self.loading, self.pending.popleft())
            else:
                self.victim = self._find_runner_to_unload()
                if self.victim is None:
                    self.refuse(self.pending.popleft())
                elif not self.victim.referred and not self.victim.stopping:
                    self.stop(self.victim)

    def fitting(self, model: str) -> Placement | None:
        placement = super().fitting(model)
        if placement is None or not self.runners:
            return placement
        tight = any(share.total_bytes > 0.8 * self.free_bytes(device) for device, share in placement.shares)
        return None if tight else placement

    def _find_runner_to_unload(self) -> Runner | None:
        in_order = [self.runners[name] for name in sorted(self.runners)]
        return next((one for one in in_order if not one.referred), in_order[0] if in_order else None)

    def _expire(self) -> None:
        idle = [one for one in self.runners.values() if one.ready and not one.stopping and not one.referred]
        for runner in idle:
            if runner.used_s + self.keep_alive_s <= self.now_s:
                self.stop(runner)
        due_s = [one.used_s + self.keep_alive_s for one in idle if not one.stopping]
        if due_s:
            self.out.append(WakeAt(min(due_s)))


LARGEST_SET = 6
"""Of the sets that a user of llama-swap lists."""


class LlamaSwap(Peer):
    """internal/router/scheduler/fifo.go with one of its two swappers: one model at a time, or sets that fit together.

    1. More than ten requests waiting or running for one model: 429.
    2. A request for a running model goes straight in, whoever else is queued.
    3. A swap that would stop a busy model waits; the queue is walked again when a model falls idle or a swap ends.
    """

    limit_per_model = 10

    def __init__(self, *, matrix: bool) -> None:
        super().__init__()
        self.matrix = matrix
        self.queue: dict[str, deque[Demand]] = {}
        """By model, in order of the first request: A B C A B C is served as A A B B C C."""
        self.swapping: dict[str, set[str]] = {}
        """Target, and who has to leave before it starts."""

    def arrived(self, demand: Demand) -> None:
        runner = self.runners.get(demand.model)
        waiting = self.queue.get(demand.model, ())
        if len(waiting) + (runner.referred if runner else 0) >= self.limit_per_model:
            self.refuse(demand)
        elif runner is not None and not runner.stopping:
            self.let_in(runner, demand)
        else:
            self.queue.setdefault(demand.model, deque()).append(demand)

    def step(self) -> None:
        for target, leaving in list(self.swapping.items()):
            if not leaving & self.runners.keys():
                placement = self.fitting(target)
                if placement is None:
                    continue
                del self.swapping[target]
                runner = self.start(target, placement)
                for demand in self.queue.pop(target, deque()):
                    self.let_in(runner, demand)
        for model in list(self.queue):
            if model not in self.swapping and model not in self.runners:
                self._try_swap(model)

    def _try_swap(self, model: str) -> None:
        leaving = self._to_evict(model)
        promised = set().union(*self.swapping.values(), self.swapping) if self.swapping else set[str]()
        if leaving & promised or (self.swapping and not self.matrix):
            return
        victims = [self.runners[name] for name in leaving]
        if any(victim.referred or not victim.ready for victim in victims):
            return
        for victim in victims:
            if not victim.stopping:
                self.stop(victim)
        self.swapping[model] = leaving

    def _to_evict(self, model: str) -> set[str]:
        running = set(self.runners) | set(self.swapping)
        if not self.matrix:
            return running
        return self._outside_of_the_best_set(model, sorted(running - {model}))

    def _outside_of_the_best_set(self, model: str, others: list[str]) -> set[str]:
        """The sets are the best that a user could have listed: whatever fits beside the model, up to so many, may stay."""
        sizes = {name: self.profiles[name].placements[0].total_bytes for name in (model, *others)}
        room = sum(device.budget_bytes for device in self.devices.values()) - sizes[model]
        most = min(len(others), LARGEST_SET - 1)
        fitting = (
            set(stay)
            for count in range(most, -1, -1)
            for stay in combinations(others, count)
            if sum(sizes[name] for name in stay) <= room
        )
        stays = max(fitting, key=lambda stay: sum(sizes[name] for name in stay), default=set[str]())
        return set(others) - stays


class Lru(Peer):
    """First come first served with a gate: the head's victims are the least recently used, and take nothing new."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: dict[str, deque[Demand]] = {}
        self.gated: dict[str, str] = {}
        """Victim: whom it makes room for."""
        self.fresh: dict[str, int] = {}
        """Of a model just loaded: how many it must serve before it can be a victim."""

    def arrived(self, demand: Demand) -> None:
        runner = self.runners.get(demand.model)
        if runner is not None and not runner.stopping and demand.model not in self.gated:
            self.let_in(runner, demand)
        else:
            self.queue.setdefault(demand.model, deque()).append(demand)

    def finished(self, request: RequestId) -> None:
        model = self.of_request[request].model
        self.fresh[model] = self.fresh.get(model, 1) - 1
        super().finished(request)

    def step(self) -> None:
        self.gated = {name: target for name, target in self.gated.items() if name in self.runners}
        for name in self.gated:
            victim = self.runners[name]
            if not victim.referred and not victim.stopping:
                self.stop(victim)
        if not self.queue or any(not one.ready for one in self.runners.values()):
            return
        model = next(iter(self.queue))
        if model in self.runners:
            return
        placement = self.fitting(model)
        if placement is not None:
            waiting = self.queue.pop(model)
            self.fresh[model] = len(waiting)
            runner = self.start(model, placement)
            runner.waiting.extend(waiting)
        elif not self.gated:
            self._gate_for(model)

    def _gate_for(self, model: str) -> None:
        placement = self.profiles[model].placements[0]
        short = {device: share.total_bytes - self.free_bytes(device) for device, share in placement.shares}
        for victim in sorted(self.runners.values(), key=lambda one: one.used_s):
            if all(missing <= 0 for missing in short.values()):
                break
            if self.fresh.get(victim.model, 0) > 0 and victim.referred:
                continue
            self.gated[victim.model] = model
            for device in short:
                short[device] -= victim.placement.bytes_on(device)
            if not victim.referred:
                self.stop(victim)


class AllResident(Peer):
    """No memory limit: every model is loaded from the start. What the device could do if there were no swaps."""

    def arrived(self, demand: Demand) -> None:
        runner = self.runners.get(demand.model)
        if runner is None:
            runner = self.start(demand.model, self.profiles[demand.model].placements[0])
        self.let_in(runner, demand)


PEERS: dict[str, Callable[[], Peer]] = {
    "ollama": lambda: Ollama(1),
    "ollama-np4": lambda: Ollama(4),
    "llama-swap-group": lambda: LlamaSwap(matrix=False),
    "llama-swap-matrix": lambda: LlamaSwap(matrix=True),
    "lru": Lru,
    "all-resident": AllResident,
}
