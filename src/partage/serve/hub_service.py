"""Builds the hub from the configuration and runs it behind its API."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path

from partage import __version__
from partage.api.app import create_app
from partage.api.ports import ApiSettings
from partage.clock import SystemClock
from partage.config import Config
from partage.device.host import HOST, read_host
from partage.domain import Device, DeviceId, EngineId, Footprint, Model, Placement
from partage.engine.base import Engine
from partage.engine.launch import environment
from partage.engine.registry import make_engine
from partage.engine.spec import LaunchSpec, RemoteSpec
from partage.engine.workers import Workers
from partage.hub.clients import Clients, KnownClient
from partage.hub.desk import Desk
from partage.hub.footprints import FOOTPRINTS, Footprints
from partage.hub.hub import Hub
from partage.hub.journal import Journal
from partage.hub.kept_leases import LEASES, KeptLeases
from partage.hub.library import Library
from partage.hub.load_times import LOAD_TIMES, LoadTimes
from partage.hub.ports import Observer
from partage.hub.profiles import Profiles
from partage.hub.watch import watch_devices
from partage.hub.weighing import Weigher
from partage.hub.weights import Weights
from partage.policy.scheduler import Scheduler
from partage.policy.settings import PolicySettings
from partage.public_addresses import is_loopback
from partage.serve.adoption import adopting
from partage.serve.collector import look_seldom
from partage.serve.container_leases import ContainerLeases
from partage.serve.devices import (
    Equipment,
    default_threads,
    equipment_of,
    overheads_of,
    parking_of,
    spare_devices,
    wants_spare_worker,
)
from partage.serve.home import owned
from partage.serve.http import bind, serve, url_of
from partage.serve.shop import workshop_of
from partage.serve.wishes import check_names, tell_absent
from partage.watch.watch import Watch

log = logging.getLogger(__name__)


async def run_hub(config: Config, *, announce: bool = False) -> None:
    """Serve until told to stop. Raises ConfigError."""
    listener = bind(config.hub.host, config.hub.port, "hub")
    for warning in config.warnings:
        log.warning("%s", warning)
    check_names(config.models)
    workshop = workshop_of(config, for_clients=True)
    with (
        owned(config.home, url_of(listener)),
        Journal(config.home / "journal" / "hub.jsonl", config.hub.journal_bytes) as journal,
    ):
        watch = Watch(config, SystemClock(), __version__)
        library = Library(workshop.shelves, {})
        workers = Workers()
        equipment = equipment_of(config)
        hub = build_hub(config, equipment, library, journal, watch.observers, workers=workers)

        container_leases = ContainerLeases(watch.docker, watch.client_of)
        watch.on_containers = container_leases.look
        app = create_app(Desk(hub, workshop), api_settings(config), watch, hub.leases)
        async with (
            adopting(config, library),
            hub.running(),
            a_worker_waits(config, equipment, hub, workers),
            watching(hub, watch),
            container_leases.running(hub.leases.held),
            watch_devices(hub, weigher_of(config, hub), gpus=watch.sampler.holdings),
        ):
            tell_absent(config.models, library)
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


def a_worker_waits(
    config: Config, equipment: Equipment, hub: Hub, workers: Workers
) -> AbstractAsyncContextManager[None]:
    """One worker with its imports done waits for the next load, where one is wanted."""
    if not wants_spare_worker(config, equipment.llama_server):
        return nullcontext()

    def quiet() -> bool:
        return all(view.phase == "ready" and not view.serving for view in hub.scheduler.residents_view())

    return workers.waiting(environment(default_threads(hub.devices), spare_devices(hub.devices)), quiet)


def build_hub(
    config: Config,
    equipment: Equipment,
    library: Library,
    journal: Journal | None = None,
    observers: Sequence[Observer] = (),
    *,
    workers: Workers | None = None,
) -> Hub:
    """Raises ConfigError."""
    checkpoint, devices, park_budget_bytes = parking_of(config, equipment)
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
        make_engine=EngineMaker(config, equipment.llama_server, workers or Workers()),
        clock=clock,
        journal=journal,
        observers=[*observers, footprints],
        over_limit=config.leases.over_limit,
        kept_leases=KeptLeases(config.home / LEASES),
        checkpoint=checkpoint,
        weights=weights,
    )


def weigher_of(config: Config, hub: Hub) -> Weigher:
    """Weighs the engines, and teaches the profiles what the driver takes for one."""
    overheads = overheads_of(config)

    def learn(device: DeviceId, size: int) -> None:
        if overheads.learn(device, size):
            hub.profiles.overhead_measured(device, size)

    return Weigher(learn)


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
