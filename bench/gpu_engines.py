"""Engines on a GPU asked directly: bytes, load, park, pause, and what batch work costs a person (gpu_check.py)."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import psutil

from bench.gpu_copy import copies_s
from partage.device.checkpoint import CudaCheckpoint
from partage.device.nvml import GpuReading, read_gpus
from partage.domain import Capability, Device, Model, Placement
from partage.engine.base import Engine, Loaded
from partage.engine.registry import make_engine
from partage.engine.spec import LaunchSpec
from partage.policy.placements import Wish, placements_for
from partage.work import ChatWork, Delta, EmbedWork, Message, Sampling

Order: TypeAlias = Callable[[], Awaitable[None]]
GIB = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    device: Device
    models: tuple[Model, ...]
    folder: Path
    """Of the GGUF files."""
    work: Path
    server: str | None
    """A CUDA llama-server; None: the built-in library, on the host."""
    checkpoint: CudaCheckpoint | None
    steps: int
    memory: int
    """What the hub may use in the random steps, so that not everything fits."""
    before: dict[str, int] = field(default_factory=dict[str, int])
    """What the GPU held before the model's engine was started."""

    @property
    def on_gpu(self) -> bool:
        return self.device.kind == "cuda"

    def chat_model(self) -> Model:
        return min((one for one in self.models if Capability.CHAT in one.capabilities), key=lambda one: one.size_bytes)


def placement_of(device: Device, model: Model) -> Placement:
    wish = Wish(context_tokens=4096, slots=2, threads=1, embedding=Capability.EMBEDDING in model.capabilities)
    return placements_for(model.anatomy, model.projector, [device], wish)[0]


@asynccontextmanager
async def running(bench: Bench, model: Model) -> AsyncGenerator[tuple[Engine, Loaded, Placement]]:
    bench.before[model.name] = used_bytes(bench)
    place = placement_of(bench.device, model)
    engine = make_engine(
        LaunchSpec(
            id=model.name,
            model_path=model.path,
            projector_path=model.projector_path,
            settings=place.settings,
            devices=(bench.device.id,),
            run_dir=str(bench.work / "run"),
            llama_server=bench.server,
        )
    )
    try:
        yield engine, await engine.start(), place
    finally:
        await engine.stop(2.0)


def held_bytes(bench: Bench, model: Model, pid: int) -> int:
    """As the driver counts, the CUDA context included; on the host, what is resident.

    In a container the driver may not name the process: what the GPU holds more than before is then taken.
    """
    if not bench.on_gpu:
        return psutil.Process(pid).memory_info().rss
    family = {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}
    listed = sum(one.used_bytes or 0 for one in gpu_of(bench).processes or () if one.pid in family)
    return listed or used_bytes(bench) - bench.before[model.name]


def used_bytes(bench: Bench) -> int:
    return (gpu_of(bench).used_bytes or 0) if bench.on_gpu else 0


def gpu_of(bench: Bench) -> GpuReading:
    return next(one for one in read_gpus() if one.uuid == bench.device.id)


async def tokens_at(engine: Engine, times: list[float], count: int = 100_000) -> str:
    """Stream a chat and note when each piece came."""
    work = ChatWork(
        messages=(Message(role="user", content="Count."),),
        sampling=Sampling(max_tokens=count, temperature=0.0),
    )
    text: list[str] = []
    async with aclosing(engine.stream(work)) as outputs:
        async for output in outputs:
            if isinstance(output, Delta):
                times.append(time.perf_counter())
                text.append(output.text)
    return "".join(text)


async def use(engine: Engine, model: Model) -> str:
    if Capability.EMBEDDING in model.capabilities:
        async with aclosing(engine.stream(EmbedWork(inputs=("a few words",)))) as outputs:
            return str([output async for output in outputs][-1])[:60]
    return await tokens_at(engine, [], 16)


async def check_bytes(bench: Bench) -> None:
    """Estimated against what the process really holds, idle and after its first answer; seconds to load, and to copy."""
    for model in bench.models:
        async with running(bench, model) as (engine, loaded, place):
            assert loaded.pid is not None
            idle = held_bytes(bench, model, loaded.pid)
            await use(engine, model)
            used = held_bytes(bench, model, loaded.pid)
            share = place.shares[0][1]
            learned = share.total_bytes - share.overhead_bytes
            copy = copies_s(bench.device, model.size_bytes)
            print(
                f"  {model.name:22} estimated {share.total_bytes / GIB:6.2f} GiB ({learned / GIB:.2f} without the process), "
                f"holds {idle / GIB:6.2f} idle, {used / GIB:6.2f} used: {share.total_bytes / used - 1:+.1%}; "
                f"load {loaded.load_s:.2f} s" + (f", raw copy of its file {copy[0]:.3f} s" if copy else "")
            )


async def check_park(bench: Bench) -> None:
    """Park and back, three times each, against the raw copy of the same bytes both ways; it must still say the same."""
    if bench.checkpoint is None:
        print("  not possible here: it takes an NVIDIA driver of 570 or newer and cuda-core")
        return
    for model in bench.models:
        async with running(bench, model) as (engine, loaded, _):
            assert loaded.pid is not None
            before = await use(engine, model)
            size = held_bytes(bench, model, loaded.pid)
            parks: list[float] = []
            backs: list[float] = []
            left = 0
            for _ in range(3):
                parks.append(await timed(asyncio.to_thread(bench.checkpoint.park, loaded.pid)))
                left = held_bytes(bench, model, loaded.pid)
                backs.append(await timed(asyncio.to_thread(bench.checkpoint.unpark, loaded.pid)))
            same = await use(engine, model) == before
            there, back = copies_s(bench.device, size) or (float("nan"), float("nan"))
            both, raw = statistics.median(parks) + statistics.median(backs), there + back
            print(
                f"  {model.name:22} {size / GIB:6.2f} GiB: park {statistics.median(parks):.3f} s, back "
                f"{statistics.median(backs):.3f} s, raw copy both ways {raw:.3f} s: {both / raw:.2f} x (target 1.5); "
                f"{left >> 20} MiB stay on the device; says {'the same' if same else 'SOMETHING ELSE'}"
            )


async def check_pause(bench: Bench) -> None:
    """From the order until the last token that still comes, and from the order to go on until the next."""
    model = bench.chat_model()
    async with running(bench, model) as (engine, loaded, _):
        assert loaded.pid is not None
        pid, checkpoint = loaded.pid, bench.checkpoint

        async def stopped() -> None:
            engine.pause()

        async def continued() -> None:
            engine.resume()

        ways: list[tuple[str, Order, Order]] = [("SIGSTOP", stopped, continued)]
        if checkpoint is not None:
            ways.append(("checkpoint lock", *locking(checkpoint, pid)))
        for name, stop, go_on in ways:
            stops: list[float] = []
            starts: list[float] = []
            for _ in range(10):
                at = await one_pause(engine, stop, go_on)
                stops.append(at[0] * 1000)
                starts.append(at[1] * 1000)
            print(
                f"  {name:16} silent after {statistics.median(stops):.1f} ms (longest {max(stops):.1f}), next token "
                f"{statistics.median(starts):.1f} ms after going on (longest {max(starts):.1f})"
            )


def locking(checkpoint: CudaCheckpoint, pid: int) -> tuple[Order, Order]:
    async def lock() -> None:
        await asyncio.to_thread(checkpoint.lock, pid)

    async def unlock() -> None:
        await asyncio.to_thread(checkpoint.unlock, pid)

    return lock, unlock


async def one_pause(engine: Engine, stop: Order, go_on: Order) -> tuple[float, float]:
    times: list[float] = []
    async with asyncio.TaskGroup() as tasks:
        streaming = tasks.create_task(tokens_at(engine, times, 400))
        while len(times) < 8:  # noqa: ASYNC110 it can only be looked at
            await asyncio.sleep(0.005)
        ordered_s = time.perf_counter()
        await stop()
        held_s = time.perf_counter() - ordered_s
        await asyncio.sleep(0.3)
        silent_s = max(held_s, times[-1] - ordered_s)
        count, resumed_s = len(times), time.perf_counter()
        await go_on()
        while len(times) == count and not streaming.done():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        next_s = times[-1] - resumed_s if len(times) > count else 0.0
        streaming.cancel()
    return silent_s, next_s


async def check_inflation(bench: Bench) -> None:
    """A person's chat alone, beside a saturating stream of another model, and beside the same one paused."""
    person = bench.chat_model()
    others = [one for one in bench.models if one is not person and Capability.CHAT in one.capabilities]
    async with running(bench, person) as (ours, _, _), running(bench, others[-1]) as (batch, _, _):
        alone = await felt(ours)
        async with asyncio.TaskGroup() as tasks:
            streaming = tasks.create_task(tokens_at(batch, [], 100_000))
            await asyncio.sleep(1.0)
            beside = await felt(ours)
            batch.pause()
            paused = await felt(ours)
            batch.resume()
            streaming.cancel()
    for name, (first, token) in (("beside it", beside), ("beside it, paused", paused)):
        print(
            f"  {name:20} first token {first / alone[0]:.2f} x, per token {token / alone[1]:.2f} x of alone (target 1.15)"
        )


async def felt(engine: Engine, count: int = 12) -> tuple[float, float]:
    """p95 seconds to the first token and per token."""
    firsts: list[float] = []
    tokens: list[float] = []
    for _ in range(count):
        times: list[float] = []
        began_s = time.perf_counter()
        await tokens_at(engine, times, 24)
        firsts.append(times[0] - began_s)
        tokens += [after - before for before, after in pairwise(times)]
    return sorted(firsts)[int(0.95 * len(firsts))], sorted(tokens)[int(0.95 * len(tokens))]


async def timed(doing: Awaitable[object]) -> float:
    began_s = time.perf_counter()
    await doing
    return time.perf_counter() - began_s
