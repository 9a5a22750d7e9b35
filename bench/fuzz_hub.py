"""The real hub and API with engines that are fake, in this process, on a free port: for what hundreds of clients do to it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import uvicorn

from partage.api.app import create_app
from partage.api.fake_hub import CHATTY, CODER, EMBEDDER, SEER
from partage.api.ports import ApiSettings
from partage.clock import SystemClock
from partage.domain import Device, EngineId, Footprint, LaunchSettings, Model, Placement
from partage.engine.base import Engine
from partage.engine.fake import Behaviour, FakeEngine
from partage.errors import ModelNotFound
from partage.hub.clients import Clients
from partage.hub.desk import Desk
from partage.hub.hub import Hub
from partage.models.create import Recipe
from partage.models.names import canonical
from partage.models.progress import PullProgress
from partage.policy.events import ModelLearned, ModelProfile
from partage.policy.scheduler import Scheduler
from partage.policy.settings import PolicySettings
from partage.serve.http import bind

SLOTS = 4
MIB = 1 << 20


class Library:
    """Four models that cannot be removed."""

    def __init__(self) -> None:
        self._models = {model.name: model for model in (CHATTY, SEER, EMBEDDER, CODER)}

    def list(self) -> list[Model]:
        return list(self._models.values())

    def get(self, name: str) -> Model:
        found = self._models.get(canonical(name))
        if found is None:
            raise ModelNotFound(name)
        return found

    def remove(self, name: str) -> None:
        self.get(name)


class Profiles:
    """Each model takes 100 MiB of the host."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._known: set[str] = set()

    def learn(self, model: Model, context_tokens: int | None) -> ModelLearned | None:
        if model.name in self._known:
            return None
        self._known.add(model.name)
        settings = LaunchSettings(context_tokens=4096, slots=self._slots, threads=1)
        placement = Placement(settings=settings, shares=(("host", Footprint(weights_bytes=100 * MIB)),))
        return ModelLearned(ModelProfile(model=model.name, placements=(placement,), load_s=0.01))

    def forget(self, model: str) -> None:
        self._known.discard(model)

    def keep_alive_s(self, model: str) -> float | None:
        return None

    def overhead_measured(self, device: str, size: int) -> None:
        """Every model takes what it takes."""


class Workshop:
    """Brings and makes nothing, but takes the time of day."""

    async def pull(self, name: str, *, insecure: bool = False) -> AsyncGenerator[PullProgress, None]:
        canonical(name)
        yield PullProgress(status="pulling manifest")
        await asyncio.sleep(0)

    push = pull

    async def create(self, name: str, recipe: Recipe) -> AsyncGenerator[PullProgress, None]:
        canonical(name)
        yield PullProgress(status="reading")

    async def copy(self, source: str, destination: str) -> None:
        canonical(source)
        canonical(destination)

    def has_blob(self, digest: str) -> bool:
        return False

    async def receive_blob(self, digest: str, chunks: AsyncIterable[bytes], size_bytes: int | None) -> None:
        async for _ in chunks:
            pass


@dataclass
class FuzzHub:
    hub: Hub
    port: int = 0
    engines: list[FakeEngine] = field(default_factory=list[FakeEngine])

    async def wait_idle(self, limit_s: float = 10.0) -> None:
        """Raises TimeoutError when something is held for longer."""
        async with asyncio.timeout(limit_s):
            while self.leaks():  # noqa: ASYNC110 nobody tells when the last of them is let go
                await asyncio.sleep(0.02)

    def leaks(self) -> dict[str, int]:
        """What is held although nobody asks any more, by kind; empty: nothing."""
        scheduler = self.hub.scheduler
        counted = {
            "tickets": len(self.hub._tickets),  # noqa: SLF001
            "queued": len(scheduler.queue_view()),
            "slots": sum(one.serving for one in scheduler.residents_view()),
            "streams": sum(one.streaming for one in self.engines),
            "engines": sum(one.ready for one in self.engines) - len(self.hub.residents.running),
            "tasks": sum(_is_request(task) for task in asyncio.all_tasks()),
        }
        return {kind: count for kind, count in counted.items() if count}


def _is_request(task: asyncio.Task[Any]) -> bool:
    """The server gives every request a task, and what a request starts is named by nobody."""
    return "run_asgi" in repr(task.get_coro()) or "_break_silence" in repr(task.get_coro())


@asynccontextmanager
async def fuzz_hub(
    behaviour: Behaviour,
    *,
    slots: int = SLOTS,
    make: Callable[[Behaviour], FakeEngine] = FakeEngine,
    listener: socket.socket | None = None,
) -> AsyncGenerator[FuzzHub]:
    engines: list[FakeEngine] = []

    def make_engine(engine: EngineId, model: Model, placement: Placement) -> Engine:
        engines.append(make(behaviour))
        return engines[-1]

    clock = SystemClock()
    hub = Hub(
        scheduler=Scheduler(PolicySettings()),
        library=Library(),
        profiles=Profiles(slots),
        clients=Clients({}, clock),
        devices=[Device(id="host", kind="host", name="host", total_bytes=350 * MIB, cores=8)],
        make_engine=make_engine,
        clock=clock,
    )
    settings = ApiSettings(version="fuzz", max_body_bytes=4 * MIB, silence_s=0.5)
    app = create_app(Desk(hub, cast("Any", Workshop())), settings)
    listener = listener or bind("127.0.0.1", 0, "fuzz")
    config = uvicorn.Config(app, loop="none", http="httptools", ws="none", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    async with hub.running(), asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(server._serve([listener]))  # noqa: SLF001 serve() would take the signals
        try:
            yield FuzzHub(hub, listener.getsockname()[1], engines)
        finally:
            hub.refuse_new()
            server.should_exit = server.force_exit = True
            await serving
