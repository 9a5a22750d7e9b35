"""A hub with fake engines on fake time: everything real but the model servers and the clock."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from partage.clock import FakeClock
from partage.domain import (
    Anatomy,
    Capability,
    Client,
    Device,
    EngineId,
    Footprint,
    LaunchSettings,
    Model,
    Placement,
    Request,
)
from partage.engine.base import Engine, Loaded
from partage.engine.fake import Behaviour, FakeEngine, FakeTime
from partage.errors import ModelNotFound
from partage.hub.clients import Clients, KnownClient
from partage.hub.hub import Hub
from partage.hub.ports import Journal
from partage.hub.residents import Checkpoint
from partage.hub.ticket import Ticket
from partage.policy.events import ModelLearned, ModelProfile, TimePassed
from partage.policy.scheduler import Scheduler
from partage.policy.settings import PolicySettings
from partage.work import ChatWork, Delta, EmbedWork, Message, Sampling, Work

MIB = 1 << 20
SLOW = Behaviour(load_s=1.0, prompt_tokens_per_s=1000, tokens_per_s=10)
CHAT, EMBED = "chat:latest", "embed:latest"


def model(name: str, *capabilities: Capability) -> Model:
    anatomy = Anatomy(
        architecture="llama",
        layers=1,
        embedding_length=1,
        feed_forward_length=(1,),
        heads=(1,),
        heads_kv=(1,),
        key_length=1,
        value_length=1,
        context_train_tokens=4096,
        vocab_tokens=1,
        causal=True,
        tensors=(),
        metadata={},
    )
    return Model(name=name, digest=f"sha256:{name}", path="", anatomy=anatomy, capabilities=frozenset(capabilities))


class FakeLibrary:
    def __init__(self, *models: Model) -> None:
        self.models = {one.name: one for one in models}

    def list(self) -> list[Model]:
        return list(self.models.values())

    def get(self, name: str) -> Model:
        if name not in self.models:
            raise ModelNotFound(name)
        return self.models[name]

    def remove(self, name: str) -> None:
        del self.models[name]


class FakeProfiles:
    """Every model takes 100 MiB of the host and has two slots, unless a test places it otherwise."""

    def __init__(self, placements: tuple[Placement, ...] = ()) -> None:
        self.known: set[str] = set()
        self.overheads: dict[str, int] = {}
        placement = Placement(
            settings=LaunchSettings(context_tokens=4096, slots=2, threads=1),
            shares=(("host", Footprint(weights_bytes=100 * MIB)),),
        )
        self.placements = placements or (placement,)

    def learn(self, model: Model, context_tokens: int | None) -> ModelLearned | None:
        if model.name in self.known:
            return None
        self.known.add(model.name)
        return ModelLearned(ModelProfile(model=model.name, placements=self.placements, load_s=1.0))

    def forget(self, model: str) -> None:
        self.known.discard(model)

    def keep_alive_s(self, model: str) -> float | None:
        return None

    def overhead_measured(self, device: str, size: int) -> None:
        self.overheads[device] = size


class BrokenEngine(FakeEngine):
    """Fails in a way that no engine should."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    async def start(self) -> Loaded:
        raise self.error


@dataclass
class House:
    """The hub under test and everything a test may turn."""

    time: FakeTime
    hub: Hub = field(init=False)
    behaviour: Behaviour = SLOW
    engines: list[tuple[EngineId, FakeEngine]] = field(default_factory=list[tuple[EngineId, FakeEngine]])
    broken: Exception | None = None
    room_bytes: int | None = None
    """An engine that is placed with more than this runs out of memory while it loads, whatever the ledger says."""
    _ids: itertools.count[int] = field(default_factory=itertools.count)

    def make_engine(self, engine: EngineId, model: Model, placement: Placement) -> Engine:
        too_large = self.room_bytes is not None and placement.total_bytes > self.room_bytes
        behaviour = replace(self.behaviour, slots=placement.settings.slots, out_of_memory=too_large)
        made = BrokenEngine(self.broken) if self.broken else FakeEngine(behaviour, self.time.sleep)
        self.engines.append((engine, made))
        return made

    def admit(self, model: str, work: Work | None = None, *, client: Client | None = None) -> Ticket:
        if work is None:
            work = EmbedWork(inputs=("one two",)) if model == EMBED else chat()
        who = client or Client(name="someone")
        return self.hub.admit(Request(id=f"r{next(self._ids)}", model=model, client=who, work=work))

    async def pass_time(self, seconds: float) -> None:
        """Let fake time pass and wake the policy on the way, as its WakeAt would on the real clock."""
        for _ in range(int(seconds * 2)):
            await self.time.advance(0.5)
            self.hub.post(TimePassed())
        await self.time.advance(0)

    def held(self) -> tuple[int, int]:
        """(waiting, served) as the policy sees it."""
        residents = self.hub.scheduler.residents_view()
        return len(self.hub.scheduler.queue_view()), sum(one.serving for one in residents)

    def started(self) -> list[str]:
        return [engine.partition("#")[0] for engine, _ in self.engines]


def chat(words: str = "hello there", max_tokens: int = 4) -> ChatWork:
    return ChatWork(messages=(Message(role="user", content=words),), sampling=Sampling(max_tokens=max_tokens))


async def text_of(ticket: Ticket, *, whole: bool = False) -> str:
    return "".join([output.text async for output in ticket.stream(whole=whole) if isinstance(output, Delta)])


@pytest.fixture
def open_house() -> Callable[..., object]:
    """A function that gives an open hub as an async context manager."""

    @asynccontextmanager
    async def opened(
        *,
        memory_bytes: int = 1000 * MIB,
        cores: int = 4,
        settings: PolicySettings | None = None,
        known: dict[str, KnownClient] | None = None,
        gpu_bytes: int = 0,
        placements: tuple[Placement, ...] = (),
        checkpoint: Checkpoint | None = None,
        journal: Journal | None = None,
    ) -> AsyncGenerator[House]:
        time = FakeTime(FakeClock())
        house = House(time=time)
        gpu = Device(id="gpu", kind="cuda", name="gpu", total_bytes=gpu_bytes, parks=checkpoint is not None)
        house.hub = Hub(
            scheduler=Scheduler(settings or PolicySettings()),
            library=FakeLibrary(
                model(CHAT, Capability.COMPLETION, Capability.CHAT), model(EMBED, Capability.EMBEDDING)
            ),
            profiles=FakeProfiles(placements),
            clients=Clients(known or {}, time.clock),
            devices=[
                *([gpu] if gpu_bytes else []),
                Device(id="host", kind="host", name="host", total_bytes=memory_bytes, cores=cores, contended=True),
            ],
            make_engine=house.make_engine,
            clock=time.clock,
            checkpoint=checkpoint,
            journal=journal,
        )
        async with house.hub.running():
            yield house

    return opened
