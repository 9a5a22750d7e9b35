"""A run of steps drawn at random on a machine drawn at random, in which everything breaks: what must hold whatever happens.

The promises themselves are checked after every event by Town (town.py): the ledger never exceeds the device, a busy engine
is never stopped, an engine serves who called it before it leaves, no thread too many,
what is paused by hand does not compute, no wait and no pause beyond the bound, and every
request and every lease ends exactly once.

A step for which there is nothing to choose from does nothing. Each run of a swarm (Groce et al., Swarm Testing, ISSTA 2012)
leaves some kinds of step out and takes others more often: faults hide from runs in which a bit of everything happens.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from town import Say, Town, gpu, host, placement

from partage.domain import Class, Device
from partage.policy import events
from partage.policy.settings import PolicySettings

MACHINES = (
    (gpu("gpu", 10),),
    (gpu("gpu", 10), gpu("gpu2", 7)),
    (host(12, 2),),
    (gpu("gpu", 10), host(12, 2)),
    (gpu("gpu", 10, parks=True),),
    (gpu("gpu", 7, parks=True), gpu("gpu2", 7, parks=True)),
)
MODELS = ("a", "b", "c", "d")
CLIENTS = "uvwxyz"
FLOOD = "x"
"""Where there is a flood: it has had far more than the others."""
MIXES = (CLIENTS, "uvwxxxyz", "uxxx", "xu")
"""Who asks in a swarm's run, some more often than others."""
USUAL = {
    "time_passes": 5,
    "ask": 6,
    "start_ends": 5,
    "stop_ends": 4,
    "finish": 4,
    "park_ends": 3,
    "several_are_asked": 2,
}
"""How often they happen, of a step that is not among them; no run of a swarm leaves them out."""
RARE = (
    "a_person_waits_behind_a_flood",
    "engines_go_on",
    "walk_away",
    "progress",
    "unpark_fails",
    "crash",
    "ask_lease",
    "end_lease",
    "strangers",
    "unload",
    "pin",
    "pause_by_hand",
    "pause_lease_by_hand",
    "learn_again",
)
STEPS = (*USUAL, *RARE)


def swarm(seed: int, steps: int, say: Say | None = None) -> None:
    """One run, to its end. Raises: AssertionError where a promise is broken."""
    chance = random.Random(seed)
    trial = Trial(chance, chance.choice(MIXES), say)
    left_out = {step for step in RARE if chance.random() < 0.3}
    weights = [0 if step in left_out else USUAL.get(step, 1) * chance.choice((0.3, 1, 3)) for step in STEPS]
    for step in chance.choices(STEPS, weights, k=steps):
        trial.take(step)
    trial.end()


class Trial:
    def __init__(self, chance: random.Random, clients: str = CLIENTS, say: Say | None = None) -> None:
        self.chance, self.clients = chance, clients
        self.asked = 0
        self.devices: tuple[Device, ...] = chance.choice(MACHINES)
        settings = PolicySettings(
            queue_limit=chance.choice((12, 40)),
            keep_alive_s=chance.choice((0.0, 5.0, 300.0)),
            park_budget_bytes=chance.choice((0, 6, 9, 100)),
        )
        self.town = Town(settings, *self.devices, say=say)
        for size, name in enumerate(MODELS, start=2):
            self._learn(name, size)
        accounts = self.town.scheduler.state.accounts
        for client in CLIENTS if chance.random() < 0.7 else "":
            accounts.charge(accounts.of(client), 1000.0 if client == FLOOD else 1.0, 0.0)

    def take(self, step: str) -> None:
        getattr(self, step)()

    def ask(self) -> None:
        chance = self.chance
        tokens = chance.randint(1, 2000)
        self.town.ask(
            self._new("r"),
            chance.choice((*MODELS * 5, "ghost")),
            chance.choice(self.clients),
            class_=chance.choice((*[Class.INTERACTIVE] * 3, *Class)),
            prompt_tokens=tokens,
            output_tokens=tokens // 10,
            deadline_at_s=None if chance.random() < 0.7 else self.town.now_s + chance.uniform(0, 40),
            hard_deadline=chance.random() < 0.3,
            context_tokens=chance.choice((*[0] * 8, 2048, 8192, 16384, 99999)),
            keep_alive_s=chance.choice((*[None] * 5, -1.0, 0.0, 3.0)),
            max_concurrent=chance.choice((*[None] * 8, 1, 2)),
            load_only=chance.random() < 0.1,
        )

    def several_are_asked(self) -> None:
        model, client = self.chance.choice(MODELS), self.chance.choice((FLOOD, *self.clients))
        tokens = self.chance.choice((10, 500, 20_000))
        for _ in range(self.chance.randint(1, 6)):
            self.town.ask(self._new("r"), model, client, class_=Class.INTERACTIVE, output_tokens=tokens)

    def a_person_waits_behind_a_flood(self) -> None:
        self.town.ask(self._new("r"), self.chance.choice(MODELS), FLOOD, output_tokens=20_000)
        for engine in self.town.starting:
            self.town.make_ready(engine)
        self.town.ask(self._new("r"), self.chance.choice(MODELS), "u", class_=Class.INTERACTIVE)
        self.town.pass_time(self.chance.choice((5.0, 30.0)))

    def engines_go_on(self) -> None:
        """All that is loaded, copied or stopped comes to its end at once: most of the steps would be spent on it."""
        works = self.chance.random() < 0.8
        for engine in sorted(self.town.parking - self.town.stopping):
            self.town.park_ends(engine, works=works)
        for engine in sorted(self.town.stopping):
            self.town.go(engine)
        for engine in self.town.starting:
            self.town.make_ready(engine)
        self.town.pass_time(self.chance.choice((0.1, 3.0, 20.0)))

    def finish(self) -> None:
        for request in self._one_of(self.town.serving):
            outcome: events.Outcome = self.chance.choice(("done", "done", "failed", "cancelled"))
            self.town.finish(request, outcome, self.chance.randint(0, 900))

    def walk_away(self) -> None:
        for request in self._one_of(self.town.open):
            self.town.finish(request, "cancelled")

    def progress(self) -> None:
        for request in self._one_of(self.town.serving):
            self.town.tell(events.RequestProgressed(request=request, output_tokens=self.chance.randint(1, 900)))

    def start_ends(self) -> None:
        for engine in self._one_of(self.town.starting):
            fate = self.chance.choice((*["ready"] * 5, "broken", "out of memory"))
            if fate == "ready" or engine in self.town.unparking:
                self.town.make_ready(engine)
            else:
                self.town.fail(engine, out_of_memory=fate == "out of memory")

    def stop_ends(self) -> None:
        for engine in self._one_of(self.town.stopping):
            self.town.go(engine)

    def park_ends(self) -> None:
        for engine in self._one_of(self.town.parking - self.town.stopping):
            self.town.park_ends(engine, works=self.chance.random() < 0.85)

    def unpark_fails(self) -> None:
        for engine in self._one_of(self.town.unparking):
            if self.chance.random() < 0.5:
                self.town.go(engine)
            else:
                self.town.crash(engine)

    def crash(self) -> None:
        for engine in self._one_of(self.town.ready | self.town.parking | self.town.parked):
            self.town.crash(engine, dropped_tokens=self.chance.choice((0, 7)))

    def ask_lease(self) -> None:
        self.town.lease(
            self._new("l"),
            self.chance.randint(0, 11),
            self.chance.choice("xyz"),
            class_=self.chance.choice(tuple(Class)),
            device=self.chance.choice((None, *(one.id for one in self.devices), "ghost")),
            exclusive=self.chance.random() < 0.3,
            max_wait_s=self.chance.choice((None, 0.0, 5.0, 100.0)),
        )

    def end_lease(self) -> None:
        for lease in self._one_of(self.town.leases):
            self.town.end_lease(lease)

    def strangers(self) -> None:
        self.town.tell(events.StrangersSeen(self.chance.choice(self.devices).id, self.chance.choice((0, 0, 3, 9))))

    def unload(self) -> None:
        self.town.tell(events.UnloadAsked(model=self.chance.choice(MODELS)))

    def pin(self) -> None:
        self.town.tell(events.PinChanged(model=self.chance.choice(MODELS), pinned=self.chance.random() < 0.4))

    def pause_by_hand(self) -> None:
        self.town.tell(events.PauseAsked(model=self.chance.choice(MODELS), paused=self.chance.random() < 0.5))

    def pause_lease_by_hand(self) -> None:
        for lease in self._one_of(self.town.granted):
            self.town.tell(events.PauseAsked(model=f"lease:{lease}", paused=self.chance.random() < 0.5))

    def learn_again(self) -> None:
        model = self.chance.choice(MODELS)
        if self.chance.random() < 0.5:
            self.town.tell(events.ModelForgotten(model))
        self._learn(model, self.chance.randint(2, 9))

    def time_passes(self) -> None:
        self.town.pass_time(self.chance.choice((0.01, 0.5, 3.0, 3.0, 10.0, 30.0, 300.0)))

    def end(self) -> None:
        """The faults are over: everything that was admitted comes to its end, and nothing is left behind."""
        for device in self.devices:
            self.town.tell(events.StrangersSeen(device.id, 0))
        for model in MODELS:
            self.town.tell(events.PinChanged(model=model, pinned=False))
        for model in sorted(self.town.halted):
            self.town.tell(events.PauseAsked(model=model, paused=False))
        self.town.settle(limit=10_000)  # keep_alive -1 may pin what an exclusive lease needs: it waits to its bound
        assert not self.town.open
        assert not self.town.leases
        state = self.town.scheduler.state
        assert not state.leases, "a lease that has ended is remembered"
        assert not [name for name in state.models if name.startswith("lease:")]
        assert not state.ledger.closed
        for model in MODELS:
            self.town.tell(events.UnloadAsked(model=model))
        self.town.settle()
        assert not self.town.running, "every engine ends, also one that is parked"
        assert not self.town.in_ram
        assert not any(state.loading.values())
        assert not [*state.turns.contending, *state.turns.paused, *state.turns.halted]

    def _new(self, kind: str) -> str:
        self.asked += 1
        return f"{kind}{self.asked}"

    def _one_of(self, names: Iterable[str]) -> list[str]:
        """One of them, where there is any."""
        choice = sorted(names)
        return [self.chance.choice(choice)] if choice else []

    def _learn(self, name: str, size: int) -> None:
        places = [
            placement((device.id, size), slots=1 + size % 3, context=8192, threads=1 + size % 3)
            for device in self.devices
        ]
        first, *others = self.devices
        if others:
            half = ((first.id, size // 2 + 1), (others[0].id, size // 2 + 1))
            places.append(placement(*half, slots=1, context=16384, speed=0.3 if size % 2 else 0.9))
        places.append(placement((first.id, max(1, size // 2)), slots=1, context=2048))
        self.town.learn(name, *places, load_s=float(size))
