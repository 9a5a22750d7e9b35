"""What must hold whatever happens: a state machine that lets loads fail, engines die, and strangers take memory.

The promises themselves are checked after every event by Town (town.py): the ledger never exceeds the device, a busy engine
is never stopped, an engine serves who called it before it leaves, no thread too many,
what is paused by hand does not compute, no wait beyond the bound, and every
request and every lease ends exactly once. `bench/policy_promises.py` runs the same machine for as long as one likes.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from town import Town, gpu, host, placement

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


class Promises(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.town = Town()
        self.devices: tuple[Device, ...] = ()

    @initialize(
        machine=st.sampled_from(MACHINES),
        keep_alive_s=st.sampled_from([0.0, 5.0, 300.0]),
        ram=st.sampled_from([0, 6, 9, 100]),
        queue_limit=st.sampled_from([12, 40]),
        flood=st.booleans(),
    )
    def build(self, machine: tuple[Device, ...], keep_alive_s: float, ram: int, queue_limit: int, flood: bool) -> None:
        self.devices = machine
        settings = PolicySettings(queue_limit=queue_limit, keep_alive_s=keep_alive_s, park_budget_bytes=ram)
        self.town = Town(settings, *machine)
        for size, name in enumerate(MODELS, start=2):
            self._learn(name, size)
        accounts = self.town.scheduler.state.accounts
        for client in CLIENTS if flood else "":
            accounts.charge(accounts.of(client), 1000.0 if client == FLOOD else 1.0, 0.0)

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

    @rule(
        model=st.sampled_from([*MODELS, "ghost"]),
        client=st.sampled_from(CLIENTS),
        class_=st.sampled_from(list(Class)),
        tokens=st.integers(1, 2000),
        deadline_s=st.none() | st.floats(0, 40),
        hard=st.booleans(),
        context=st.sampled_from([0, 0, 2048, 8192, 16384, 99999]),
        keep_alive_s=st.sampled_from([None, None, -1.0, 0.0, 3.0]),
        concurrent=st.sampled_from([None, None, 1, 2]),
        load_only=st.sampled_from([False, False, False, True]),
    )
    def ask(  # noqa: PLR0917
        self,
        model: str,
        client: str,
        class_: Class,
        tokens: int,
        deadline_s: float | None,
        hard: bool,
        context: int,
        keep_alive_s: float | None,
        concurrent: int | None,
        load_only: bool,
    ) -> None:
        self.asked += 1
        self.town.ask(
            f"r{self.asked}",
            model,
            client,
            class_=class_,
            prompt_tokens=tokens,
            output_tokens=tokens // 10,
            deadline_at_s=None if deadline_s is None else self.town.now_s + deadline_s,
            hard_deadline=hard,
            context_tokens=context,
            keep_alive_s=keep_alive_s,
            max_concurrent=concurrent,
            load_only=load_only,
        )

    @rule(model=st.sampled_from(MODELS), client=st.sampled_from([FLOOD, *CLIENTS]), several=st.integers(1, 6))
    def several_are_asked(self, model: str, client: str, several: int) -> None:
        for _ in range(several):
            self.asked += 1
            self.town.ask(f"r{self.asked}", model, client, class_=Class.INTERACTIVE, output_tokens=1000)

    @rule(model=st.sampled_from(MODELS), other=st.sampled_from(MODELS), seconds=st.sampled_from([5.0, 30.0]))
    def a_person_waits_behind_a_flood(self, model: str, other: str, seconds: float) -> None:
        self.asked += 2
        self.town.ask(f"r{self.asked - 1}", model, FLOOD, output_tokens=20_000)
        for engine in self.town.starting:
            self.town.make_ready(engine)
        self.town.ask(f"r{self.asked}", other, "u", class_=Class.INTERACTIVE)
        self.town.pass_time(seconds)

    @rule(works=st.booleans(), seconds=st.sampled_from([0.1, 3.0, 20.0]))
    def engines_go_on(self, works: bool, seconds: float) -> None:
        """All that is loaded, copied or stopped comes to its end at once: most of the steps would be spent on it."""
        for engine in sorted(self.town.parking - self.town.stopping):
            self.town.park_ends(engine, works=works)
        for engine in sorted(self.town.stopping):
            self.town.go(engine)
        for engine in self.town.starting:
            self.town.make_ready(engine)
        self.town.pass_time(seconds)

    @precondition(lambda self: self.town.serving)
    @rule(data=st.data(), outcome=st.sampled_from(["done", "failed", "cancelled"]), tokens=st.integers(0, 900))
    def finish(self, data: st.DataObject, outcome: events.Outcome, tokens: int) -> None:
        self.town.finish(data.draw(st.sampled_from(sorted(self.town.serving))), outcome, tokens)

    @precondition(lambda self: self.town.open)
    @rule(data=st.data())
    def walk_away(self, data: st.DataObject) -> None:
        self.town.finish(data.draw(st.sampled_from(sorted(self.town.open))), "cancelled")

    @precondition(lambda self: self.town.serving)
    @rule(data=st.data(), tokens=st.integers(1, 900))
    def progress(self, data: st.DataObject, tokens: int) -> None:
        request = data.draw(st.sampled_from(sorted(self.town.serving)))
        self.town.tell(events.RequestProgressed(request=request, output_tokens=tokens))

    @precondition(lambda self: self.town.starting)
    @rule(data=st.data(), fate=st.sampled_from(["ready", "ready", "ready", "broken", "out of memory"]))
    def start_ends(self, data: st.DataObject, fate: str) -> None:
        engine = data.draw(st.sampled_from(self.town.starting))
        if fate == "ready" or engine in self.town.unparking:
            self.town.make_ready(engine)
        else:
            self.town.fail(engine, out_of_memory=fate == "out of memory")

    @precondition(lambda self: self.town.stopping)
    @rule(data=st.data())
    def stop_ends(self, data: st.DataObject) -> None:
        self.town.go(data.draw(st.sampled_from(sorted(self.town.stopping))))

    @precondition(lambda self: self.town.parking - self.town.stopping)
    @rule(data=st.data(), works=st.sampled_from([True, True, True, False]))
    def park_ends(self, data: st.DataObject, works: bool) -> None:
        self.town.park_ends(data.draw(st.sampled_from(sorted(self.town.parking - self.town.stopping))), works=works)

    @precondition(lambda self: self.town.unparking)
    @rule(data=st.data())
    def unpark_fails(self, data: st.DataObject) -> None:
        self.town.go(data.draw(st.sampled_from(sorted(self.town.unparking))))

    @precondition(lambda self: self.town.ready | self.town.parking | self.town.parked)
    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        alive = self.town.ready | self.town.parking | self.town.parked
        engine = data.draw(st.sampled_from(sorted(alive)))
        self.town.crash(engine, dropped_tokens=data.draw(st.sampled_from((0, 7))))

    @rule(
        data=st.data(),
        size=st.integers(0, 11),
        client=st.sampled_from("xyz"),
        class_=st.sampled_from(list(Class)),
        exclusive=st.sampled_from([False, False, True]),
        max_wait_s=st.sampled_from([None, 0.0, 5.0, 100.0]),
    )
    def ask_lease(
        self, data: st.DataObject, size: int, client: str, class_: Class, exclusive: bool, max_wait_s: float | None
    ) -> None:
        self.asked += 1
        device = data.draw(st.sampled_from([None, *(one.id for one in self.devices), "ghost"]))
        self.town.lease(
            f"l{self.asked}",
            size,
            client,
            class_=class_,
            device=device,
            exclusive=exclusive,
            max_wait_s=max_wait_s,
        )

    @precondition(lambda self: self.town.leases)
    @rule(data=st.data())
    def end_lease(self, data: st.DataObject) -> None:
        self.town.end_lease(data.draw(st.sampled_from(sorted(self.town.leases))))

    @rule(data=st.data(), size=st.sampled_from([0, 0, 3, 9]))
    def strangers(self, data: st.DataObject, size: int) -> None:
        device = data.draw(st.sampled_from(self.devices))
        self.town.tell(events.StrangersSeen(device.id, size))

    @rule(model=st.sampled_from(MODELS))
    def unload(self, model: str) -> None:
        self.town.tell(events.UnloadAsked(model=model))

    @rule(model=st.sampled_from(MODELS), pinned=st.booleans())
    def pin(self, model: str, pinned: bool) -> None:
        self.town.tell(events.PinChanged(model=model, pinned=pinned))

    @rule(model=st.sampled_from(MODELS), paused=st.booleans())
    def pause_by_hand(self, model: str, paused: bool) -> None:
        self.town.tell(events.PauseAsked(model=model, paused=paused))

    @precondition(lambda self: self.town.granted)
    @rule(data=st.data(), paused=st.booleans())
    def pause_lease_by_hand(self, data: st.DataObject, paused: bool) -> None:
        lease = data.draw(st.sampled_from(sorted(self.town.granted)))
        self.town.tell(events.PauseAsked(model=f"lease:{lease}", paused=paused))

    @rule(model=st.sampled_from(MODELS), size=st.integers(2, 9), forget=st.booleans())
    def learn_again(self, model: str, size: int, forget: bool) -> None:
        if forget:
            self.town.tell(events.ModelForgotten(model))
        self._learn(model, size)

    @rule(seconds=st.sampled_from([0.01, 0.5, 3.0, 30.0, 300.0]))
    def time_passes(self, seconds: float) -> None:
        self.town.pass_time(seconds)

    def teardown(self) -> None:
        """The faults are over: everything that was admitted comes to its end."""
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
