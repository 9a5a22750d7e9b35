"""Builds the hub from the configuration and runs it behind its API."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

from partage import __version__
from partage.api.app import create_app
from partage.api.ports import ApiSettings
from partage.clock import SystemClock
from partage.config import Config
from partage.device.checkpoint import find_checkpoint
from partage.device.discovery import DeviceWish, discover
from partage.device.host import HOST, engine_threads, read_host
from partage.device.nvml import driver_version
from partage.domain import Device, DeviceId, EngineId, Footprint, Model, Placement
from partage.engine.base import Engine
from partage.engine.launch import environment
from partage.engine.registry import make_engine
from partage.engine.spec import LaunchSpec, RemoteSpec
from partage.engine.workers import WAITING_BYTES, Workers
from partage.errors import ConfigError
from partage.hub.clients import Clients, KnownClient
from partage.hub.desk import Desk
from partage.hub.footprints import FOOTPRINTS, Footprints
from partage.hub.hub import Hub
from partage.hub.journal import Journal
from partage.hub.library import Library
from partage.hub.load_times import LOAD_TIMES, LoadTimes
from partage.hub.overheads import Overheads
from partage.hub.ports import Observer
from partage.hub.profiles import Profiles
from partage.hub.residents import Checkpoint
from partage.hub.watch import watch_devices
from partage.hub.weighing import Weigher
from partage.hub.weights import Weights
from partage.policy.scheduler import Scheduler
from partage.policy.settings import PolicySettings
from partage.serve.adoption import adopting
from partage.serve.collector import look_seldom
from partage.serve.container_leases import ContainerLeases
from partage.serve.home import owned
from partage.serve.http import bind, is_loopback, serve, url_of
from partage.serve.shop import workshop_of
from partage.watch.watch import Watch

log = logging.getLogger(__name__)

LEAST_FOR_SPARE_BYTES = 2 << 30
"""With less RAM a worker that only waits is a luxury."""
PARK_SHARE = 0.2
"""Of the RAM; models on the host may take 0.6 of it (device/host.py)."""


async def run_hub(config: Config, *, announce: bool = False) -> None:
    """Serve until told to stop. Raises ConfigError."""
    listener = bind(config.hub.host, config.hub.port, "hub")
    for warning in config.warnings:
        log.warning("%s", warning)
    workshop = workshop_of(config, for_clients=True)
    with (
        owned(config.home, url_of(listener)),
        Journal(config.home / "journal" / "hub.jsonl", config.hub.journal_bytes) as journal,
    ):
        watch = Watch(config, SystemClock(), __version__)
        library = Library(workshop.shelves, {})
        workers = Workers()
        hub = build_hub(config, library, journal, watch.observers, workers=workers)

        container_leases = ContainerLeases(watch.docker, watch.client_of)
        watch.on_containers = container_leases.look
        app = create_app(Desk(hub, workshop), api_settings(config), watch, hub.leases)
        async with (
            adopting(config, library),
            hub.running(),
            a_worker_waits(config, hub, workers),
            watching(hub, watch),
            container_leases.running(hub.leases.held),
            watch_devices(hub, weigher_of(config, hub), gpus=watch.sampler.holdings),
        ):
            log.info("hub at %s, %s", url_of(listener), ", ".join(map(_described, hub.devices)))
            look_seldom()
            await serve(app, listener, announce=announce, on_stop=hub.refuse_new)


def watching(hub: Hub, watch: Watch) -> AbstractAsyncContextManager[None]:
    """The watch beside the running hub."""

    def engines() -> dict[int, EngineId]:
        running = hub.residents.running.items()
        return {
            one.loaded.pid: engine for engine, one in running if one.loaded is not None and one.loaded.pid is not None
        }

    return watch.running(
        devices=hub.devices,
        policy=hub.scheduler,
        engines=engines,
        leases=hub.leases.pids,
        lost_leases=lambda: tuple(hub.leases.lost),
        learn_addresses=hub.clients.learn_addresses,
    )


def a_worker_waits(config: Config, hub: Hub, workers: Workers) -> AbstractAsyncContextManager[None]:
    """One worker with its imports done waits for the next load on the host, where one is wanted."""
    if not wants_spare_worker(config, find_launcher(config)):
        return nullcontext()

    def quiet() -> bool:
        return all(view.phase == "ready" and not view.serving for view in hub.scheduler.residents_view())

    return workers.waiting(environment(default_threads(hub.devices), (HOST,)), quiet)


def wants_spare_worker(config: Config, llama_server: str | None) -> bool:
    return config.hub.standby and llama_server is None and read_host().total_bytes >= LEAST_FOR_SPARE_BYTES


def build_hub(
    config: Config,
    library: Library,
    journal: Journal | None = None,
    observers: Sequence[Observer] = (),
    *,
    workers: Workers | None = None,
) -> Hub:
    """Raises ConfigError."""
    devices, launcher = devices_of(config)
    checkpoint, devices, park_budget_bytes = parking_of(config, devices)
    settings = PolicySettings(
        keep_alive_s=config.hub.keep_alive_s, queue_limit=config.hub.max_queue, park_budget_bytes=park_budget_bytes
    )
    clock = SystemClock()
    times = LoadTimes(config.home / LOAD_TIMES)
    weights = Weights(library, times, devices, clock, lambda: read_host().available_bytes)
    profiles = profiles_of(config, devices, weights.load_s)
    footprints = Footprints(config.home / FOOTPRINTS, lambda name: library.get(name).digest, profiles.outdated)
    profiles.corrected = footprints.corrected
    return Hub(
        scheduler=Scheduler(settings),
        library=library,
        profiles=profiles,
        clients=Clients(
            {
                name: KnownClient(client=entry.client(name), key=entry.key, address=entry.address)
                for name, entry in config.clients.items()
            },
            SystemClock(),
            require_key=config.hub.require_key,
        ),
        devices=devices,
        make_engine=EngineMaker(config, launcher, workers or Workers()),
        clock=clock,
        journal=journal,
        observers=[*observers, footprints],
        over_limit=config.leases.over_limit,
        checkpoint=checkpoint,
        weights=weights,
    )


def parking_of(config: Config, devices: Sequence[Device]) -> tuple[Checkpoint | None, list[Device], int]:
    """Who moves engines to RAM, the devices with whether they can, and how much RAM is for that. 0: none is parked."""
    wished = config.hub.park_budget_bytes
    has_gpu = any(device.kind == "cuda" for device in devices)
    checkpoint = find_checkpoint(driver_version()) if has_gpu and wished != 0 else None
    if checkpoint is None:
        return None, [*devices], 0
    ram_bytes = read_host().total_bytes
    able = [replace(device, parks=device.kind == "cuda") for device in devices]
    return checkpoint, able, int(ram_bytes * PARK_SHARE) if wished is None else wished


def devices_of(config: Config) -> tuple[list[Device], str | None]:
    """Where models may be placed, and the llama-server that serves them, if one does. Raises ConfigError."""
    devices = discover(
        [
            DeviceWish(gpu=wish.gpu, memory_bytes=wish.memory_bytes, reserve_bytes=wish.reserve_bytes, cores=wish.cores)
            for wish in config.devices
        ],
        visible=config.visible_gpus,
    )
    launcher = find_launcher(config)
    if launcher is None and any(device.kind == "cuda" for device in devices):
        log.warning(
            "this machine has a GPU, but the built-in llama.cpp runs on the CPU only: put a CUDA llama-server on the "
            "PATH; until then models are placed in host memory"
        )
        devices = [device for device in devices if device.kind != "cuda"]
    # Who says how much models may have gets that; the worker that waits is then outside of it, as the hub itself is.
    told = any(wish.host and wish.memory_bytes is not None for wish in config.devices)
    if wants_spare_worker(config, launcher) and not told:
        devices = [_with_reserve(device, WAITING_BYTES) if device.kind == "host" else device for device in devices]
    return overheads_of(config).applied(devices), launcher


def overheads_of(config: Config) -> Overheads:
    return Overheads(config.home / "overheads.json")


def weigher_of(config: Config, hub: Hub) -> Weigher:
    """Weighs the engines, and teaches the profiles what the driver takes for one."""
    overheads = overheads_of(config)

    def learn(device: DeviceId, size: int) -> None:
        if overheads.learn(device, size):
            hub.profiles.overhead_measured(device, size)

    return Weigher(learn)


def _with_reserve(device: Device, more_bytes: int) -> Device:
    return replace(device, reserve_bytes=device.reserve_bytes + more_bytes)


def default_threads(devices: Sequence[Device]) -> int:
    host = next(device for device in devices if device.kind == "host")
    return engine_threads(host.cores)


def profiles_of(
    config: Config, devices: Sequence[Device], load_s: Callable[[Model, Placement], float] | None = None
) -> Profiles:
    return Profiles(devices, config.hub, config.models, default_threads=default_threads(devices), load_s=load_s)


class EngineMaker:
    """Turns the policy's order into an engine, with the paths and limits of this machine."""

    def __init__(self, config: Config, llama_server: str | None, workers: Workers) -> None:
        self._config = config
        self._llama_server = llama_server
        self._workers = workers

    def __call__(self, engine: EngineId, model: Model, placement: Placement) -> Engine:
        timeout_s = self._config.hub.load_timeout_s
        if model.remote is not None:
            remote = model.remote
            return make_engine(
                RemoteSpec(
                    id=engine,
                    kind=remote.kind,
                    base_url=remote.url,
                    model=remote.model or model.name,
                    api_key=remote.key,
                    slots=remote.slots,
                    context_tokens=placement.settings.context_tokens,
                    start_timeout_s=timeout_s,
                )
            )
        return make_engine(
            LaunchSpec(
                id=engine,
                model_path=model.path,
                projector_path=model.projector_path,
                chat_template=model.chat_template,
                settings=placement.settings,
                devices=tuple(device for device, _ in placement.shares),
                run_dir=str(run_dir(self._config)),
                llama_server=self._llama_server,
                map_weights=not any(share.repack_bytes for _, share in placement.shares),
                writes_bytes=sum(_written_bytes(share) for device, share in placement.shares if device == HOST),
                start_timeout_s=timeout_s,
            ),
            self._workers,
        )


def _written_bytes(share: Footprint) -> int:
    """What a load writes into host memory; mapped weights are only looked at."""
    return share.kv_bytes + (share.weights_bytes + share.repack_bytes if share.repack_bytes else 0)


def find_launcher(config: Config) -> str | None:
    """Path of llama-server, or None for the built-in library. Raises ConfigError when one was asked for in vain."""
    if config.hub.launcher == "xllamacpp":
        return None
    found = shutil.which("llama-server")
    if found is None and config.hub.launcher == "llama-server":
        raise ConfigError("hub.launcher is llama-server, but there is no llama-server on the PATH")
    return found


def run_dir(config: Config) -> Path:
    """Where engines put their sockets: only this user may enter."""
    directory = config.home / "run"
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    directory.chmod(0o700)
    return directory


def api_settings(config: Config) -> ApiSettings:
    return ApiSettings(
        version=__version__,
        loopback=is_loopback(config.hub.host),
        allowed_hosts=config.hub.hosts,
        allowed_origins=config.hub.origins,
        fetch_images=config.hub.fetch_images,
        max_body_bytes=config.hub.max_body_bytes,
    )


def _described(device: Device) -> str:
    return f"{device.name} {device.budget_bytes / 2**30:.1f} GiB"
