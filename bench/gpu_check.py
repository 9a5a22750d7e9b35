"""What only a GPU can show: bytes against NVML, load, park and pause against the raw copy, 1,000 steps, a lease overdrawn.

    python -m bench.gpu_check [--llama-server PATH | --llama-source ARCHIVE] [--chat GGUF --embed GGUF]
                              [--work DIR] [--steps 1000] [--memory 24GiB] [--only bytes,park,...] [--small]

It needs no network where a CUDA llama-server (or llama.cpp's source archive, built here) and two small GGUFs, which lend their
tokenizers, are given. Without a GPU it says so, and checks the same on the host as far as a host can (docs/gpu.md).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import sys
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from bench.gpu_engines import GIB, Bench, check_bytes, check_inflation, check_park, check_pause, placement_of
from bench.live_hub import CHAT, EMBED, LiveHub, bench_models, live_hub
from bench.real_shapes import make_all
from partage.client.hub_client import HubClient
from partage.device.checkpoint import find_checkpoint
from partage.device.discovery import discover
from partage.device.nvml import GpuReading, driver_version, read_gpus
from partage.domain import Capability, Model
from partage.engine.builds import Build, ask
from partage.engine.making import make_server
from partage.json_value import JsonObject
from partage.models.gguf_dir import GgufDirectory
from partage.models.store import Store
from partage.quantities import parse_bytes

LEASED = "1GiB"
ASKS_FOR = 3 * GIB


async def check_steps(bench: Bench) -> None:
    """Random loads, chats, leases and unloads through a hub that has room for some of it; parks come by themselves."""
    chance = random.Random(1)
    async with hub_of(bench) as hub, HubClient(hub.url) as client:
        wrong: list[str] = []
        for _ in range(bench.steps):
            model = chance.choice(bench.models)
            try:
                async with asyncio.timeout(300):
                    await one_step(client, hub, model, chance)
            except Exception as error:  # noqa: BLE001 whatever it is, it is counted
                wrong.append(f"{model.name}: {type(error).__name__}: {error}")
        seen = (await hub.census()).events
    names = ("EngineReady", "ParkEngine", "EngineUnparked", "GrantLease", "StopEngine", "out of memory")
    print(
        f"  {bench.steps} steps: "
        + ", ".join(f"{name} {seen.get(name, 0)}" for name in names)
        + f"; failed {len(wrong)}"
    )
    for one in wrong[:5]:
        print(f"    {one}")


async def one_step(client: HubClient, hub: LiveHub, model: Model, chance: random.Random) -> None:
    match chance.choice(["load", "use", "use", "unload", "lease"]):
        case "load":
            await client.load(model.name)
        case "use" if Capability.EMBEDDING in model.capabilities:
            await hub.post("/api/embed", {"model": model.name, "input": "a few words"})
        case "use":
            await hub.post("/api/generate", prompt(model))
        case "unload":
            await hub.post("/api/generate", {"model": model.name, "keep_alive": 0, "stream": False})
        case _:
            async with client.lease(chance.randrange(64 << 20, 512 << 20), max_wait=60):
                await asyncio.sleep(0.05)


async def check_lease(bench: Bench) -> None:
    """A program that takes more than its lease, beside a served model: every answer must come."""
    model = bench.chat_model()
    program = TORCH if bench.on_gpu else PLAIN
    async with hub_of(bench) as hub:
        await hub.post("/api/generate", prompt(model))
        words = (
            "run",
            "--memory",
            LEASED,
            "--device",
            "0" if bench.on_gpu else "host",
            "--",
            sys.executable,
            "-c",
            program,
        )
        url = {"PARTAGE_HUB_URL": hub.url, "SIZE": str(ASKS_FOR if bench.on_gpu else 1200 << 20)}
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "partage", *words),
            env={**os.environ, **url},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        answered = failed = 0
        while child.returncode is None and answered + failed < 1000:
            try:
                await hub.post("/api/generate", prompt(model))
                answered += 1
            except (AssertionError, aiohttp.ClientError) as error:
                failed += 1
                print(f"    {error}")
            await asyncio.sleep(0.05)
        said = (await child.communicate())[0].decode(errors="replace").strip().splitlines()
        seen = (await hub.census()).events
    print(f"  {answered} answers beside it, {failed} failed; the program ended with {child.returncode}: {said[-1:]}")
    print(f"  engines that ended unasked or found no memory: {seen.get('RequestRequeued', 0)}, {seen['out of memory']}")


TORCH = """
import os, time, torch
held = torch.empty(int(os.environ["SIZE"]), dtype=torch.uint8, device="cuda").fill_(1)
torch.cuda.synchronize()
time.sleep(10)
print("held", held.numel())
"""
PLAIN = """
import os, time
held = bytearray(os.urandom(1 << 20)) * (int(os.environ["SIZE"]) >> 20)
time.sleep(6)
print("held", len(held))
"""


def prompt(model: Model) -> JsonObject:
    return {"model": model.name, "prompt": "Count.", "stream": False, "options": {"num_predict": 8}}


@asynccontextmanager
async def hub_of(bench: Bench) -> AsyncGenerator[LiveHub]:
    """With the models of the folder, and memory for some of them."""
    home = bench.work / "home"
    for folder in ("blobs", "models"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    device = f"gpu: {bench.device.id}" if bench.on_gpu else "host: true"
    config = (
        f"models_dir: {bench.folder}\ndevices: [{{{device}, memory: {bench.memory}}}]\n"
        f"hub: {{keep_alive: 60s, launcher: {bench.server or 'xllamacpp'}}}\n"
    )
    async with live_hub(config, model_home=home, whole=True) as hub:
        yield hub


def server_for(options: argparse.Namespace, gpus: list[GpuReading], work: Path) -> Build | None:
    """A llama-server that can use the GPU; None, with the reason said, where there is none."""
    path: str | None = options.llama_server or shutil.which("llama-server")
    if options.llama_source is not None:
        target = work / "llama-server"
        if not target.exists():
            capabilities = [gpu.compute_capability or "native" for gpu in gpus]
            make_server(target, capabilities, archive=options.llama_source, work=work / "llama.cpp")
        path = str(target)
    if path is None:
        print("there is a GPU, but no llama-server: give --llama-server or --llama-source")
        return None
    build = ask(path)
    if build.trouble is not None:
        print(f"there is a GPU, but {build.trouble}")
        return None
    return build


async def tokenizers(chat: Path | None, embed: Path | None) -> tuple[Path, Path]:
    if chat is not None and embed is not None:
        return chat, embed
    store = Store(await bench_models())
    return chat or Path(store.get(CHAT).path), embed or Path(store.get(EMBED).path)


PARTS: dict[str, tuple[Callable[[Bench], Awaitable[None]], str]] = {
    "bytes": (check_bytes, "bytes and load"),
    "park": (check_park, "park and back"),
    "pause": (check_pause, "pause and resume"),
    "inflation": (check_inflation, "a person beside batch work"),
    "steps": (check_steps, "random steps"),
    "lease": (check_lease, "a lease overdrawn"),
}


async def check(options: argparse.Namespace, work: Path) -> None:
    gpus, devices = read_gpus(), discover()
    build = server_for(options, gpus, work) if gpus else None
    device = devices[0] if build is not None else devices[-1]
    on_gpu, small = build is not None, build is None or options.small
    if build is not None:
        print(f"{device.name}, {device.total_bytes / GIB:.0f} GiB, driver {driver_version()}, {build.name}")
    else:
        why = "" if gpus else " (the driver shows no NVIDIA GPU here)"
        print(f"no GPU is checked{why}; what follows was measured on the host, with two layers of each model")
    chat, embed = await tokenizers(options.chat, options.embed)
    folder = work / ("small" if small else "models")
    make_all(folder, chat, embed, small=small)
    models = tuple(sorted(GgufDirectory(folder).list(), key=lambda one: one.size_bytes))
    needs = [placement_of(device, one).total_bytes for one in models]
    bench = Bench(
        device=device,
        models=models,
        folder=folder,
        work=work,
        server=None if build is None else build.path,
        checkpoint=find_checkpoint(driver_version()) if on_gpu else None,
        steps=options.steps or (60 if small else 1000),
        memory=parse_bytes(options.memory) if options.memory else (max(needs) + (600 << 20) if small else 24 * GIB),
    )
    for name in options.only.split(",") if options.only else PARTS:
        part, title = PARTS[name]
        print(f"{title}:", flush=True)
        await part(bench)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--llama-server")
    arguments.add_argument("--llama-source", type=Path)
    arguments.add_argument("--chat", type=Path)
    arguments.add_argument("--embed", type=Path)
    arguments.add_argument("--work", type=Path)
    arguments.add_argument("--steps", type=int)
    arguments.add_argument("--memory")
    arguments.add_argument("--only", default="")
    arguments.add_argument("--small", action="store_true", help="two layers of each model: a first look, in minutes")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="partage-gpu-") as temporary:
        work = (options.work or Path(temporary)).absolute()
        work.mkdir(parents=True, exist_ok=True)
        asyncio.run(check(options, work))


if __name__ == "__main__":
    main()
