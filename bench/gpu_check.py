"""What only a GPU can show: bytes against NVML, load, park and pause against the raw copy, 1,000 steps, a lease overdrawn.

    python -m bench.gpu_check [--llama-server PATH | --llama-source ARCHIVE] [--chat GGUF --embed GGUF]
                              [--work DIR] [--steps 1000] [--memory 24GiB] [--only bytes,park,...]

It needs no network where a CUDA llama-server (or llama.cpp's source archive, built here) and two small GGUFs, which lend their
tokenizers, are given. Without a GPU it says so, and checks the same on the host as far as a host can (docs/gpu.md).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import subprocess
import sys
import tarfile
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
from partage.device.nvml import driver_version
from partage.domain import Capability, Model
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
    device = f"gpu: {bench.device.index}" if bench.on_gpu else "host: true"
    config = f"models_dir: {bench.folder}\ndevices: [{{{device}, memory: {bench.memory}}}]\nhub: {{keep_alive: 60s}}\n"
    if bench.server is not None:
        os.environ["PATH"] = f"{Path(bench.server).parent}:{os.environ['PATH']}"
    async with live_hub(config, model_home=home, whole=True) as hub:
        yield hub


def built_server(archive: Path, work: Path) -> str:
    """A llama-server for the GPU at hand from an archive that has llama.cpp's tree in it."""
    found = [*(work / "source").rglob("bin/llama-server")]
    if not found:
        with tarfile.open(archive) as tar:
            tar.extractall(work / "source", filter="data")
        trees = (one.parent for one in (work / "source").rglob("CMakeLists.txt") if (one.parent / "ggml/src").is_dir())
        tree = min(trees, key=lambda one: len(one.parts))
        options = ("GGML_CUDA=ON", "CMAKE_CUDA_ARCHITECTURES=native", "LLAMA_CURL=OFF", "LLAMA_BUILD_TESTS=OFF")
        configure = ["cmake", "-B", str(tree / "b"), "-S", str(tree), *(f"-D{option}" for option in options)]
        subprocess.run(configure, check=True)
        jobs = str(os.cpu_count() or 4)
        subprocess.run(["cmake", "--build", str(tree / "b"), "--target", "llama-server", "-j", jobs], check=True)
        found = [*(work / "source").rglob("bin/llama-server")]
    return str(found[0])


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
    gpus = [one for one in discover() if one.kind == "cuda"]
    host = next(one for one in discover() if one.kind == "host")
    server: str | None = options.llama_server or (shutil.which("llama-server") if gpus else None)
    if gpus and server is None and options.llama_source is not None:
        server = built_server(options.llama_source, work)
    device = gpus[0] if gpus and server is not None else host
    on_gpu = device.kind == "cuda"
    if on_gpu:
        print(f"{device.name}, {device.total_bytes / GIB:.0f} GiB, driver {driver_version()}")
    else:
        why = (
            "no llama-server: give --llama-server or --llama-source" if gpus else "the driver shows no NVIDIA GPU here"
        )
        print(f"no GPU is checked ({why}); what follows was measured on the host, with two layers of each model")
    chat, embed = await tokenizers(options.chat, options.embed)
    folder = work / ("models" if on_gpu else "small")
    make_all(folder, chat, embed, small=not on_gpu)
    models = tuple(sorted(GgufDirectory(folder).list(), key=lambda one: one.size_bytes))
    needs = [placement_of(device, one).total_bytes for one in models]
    bench = Bench(
        device=device,
        models=models,
        folder=folder,
        work=work,
        server=server if on_gpu else None,
        checkpoint=find_checkpoint(driver_version()) if on_gpu else None,
        steps=options.steps or (1000 if on_gpu else 60),
        memory=parse_bytes(options.memory) if options.memory else (24 * GIB if on_gpu else max(needs) + (600 << 20)),
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
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="partage-gpu-") as temporary:
        work = (options.work or Path(temporary)).absolute()
        work.mkdir(parents=True, exist_ok=True)
        asyncio.run(check(options, work))


if __name__ == "__main__":
    main()
