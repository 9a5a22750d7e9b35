"""What the API talks to: the hub's admission, and its views and orders on models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing

from partage.domain import Client, Model, Request, RequestId
from partage.errors import InvalidRequest, ModelNotFound, NotFound, Unsupported
from partage.hub.hub import Hub
from partage.hub.ticket import Ticket
from partage.hub.views import ResidentState, ResidentView
from partage.json_value import JsonObject
from partage.models.alongside import wait_thread
from partage.models.create import Recipe
from partage.models.progress import PullProgress
from partage.models.workshop import Workshop
from partage.policy.events import ModelForgotten, PauseAsked, PinChanged, UnloadAsked
from partage.policy.leases import waits_as
from partage.policy.views import ResidentView as EngineView

UNLOAD_PATIENCE_S = 10.0
"""How long unload waits for those being served before it answers; the model leaves all the same."""


class Desk:
    """Satisfies api.ports.HubPort."""

    def __init__(self, hub: Hub, workshop: Workshop) -> None:
        self._hub = hub
        self._workshop = workshop

    def admit(self, request: Request) -> Ticket:
        """Raises what Hub.admit raises."""
        return self._hub.admit(request)

    def identify(self, *, api_key: str | None, address: str) -> Client:
        """Raises Unauthorized."""
        return self._hub.clients.identify(api_key=api_key, address=address)

    def models(self) -> list[Model]:
        return self._hub.library.list()

    def model(self, name: str) -> Model:
        """Raises InvalidRequest, ModelNotFound."""
        return self._hub.library.get(name)

    async def unload(self, name: str) -> None:
        """The model leaves as soon as nobody uses it; returns when it has, or after a while. Raises ModelNotFound."""
        model = self._hub.library.get(name).name
        self._hub.post(UnloadAsked(model=model))
        leaving = [one.end.known for one in self._hub.residents.running.values() if one.model.name == model]
        try:
            async with asyncio.timeout(UNLOAD_PATIENCE_S):
                for gone in leaving:
                    await gone.wait()
        except TimeoutError:
            return

    def pin(self, name: str, *, pinned: bool) -> None:
        """Keep the model in memory, or no longer. Raises ModelNotFound."""
        model = self._hub.library.get(name)
        self._hub.make_known(model)
        self._hub.post(PinChanged(model=model.name, pinned=pinned))

    def pause(self, name: str, *, paused: bool) -> None:
        """Let the model compute nothing, or let it go again. Raises ModelNotFound, Unsupported."""
        model = self._hub.library.get(name)
        if model.remote is not None:
            raise Unsupported(f'"{model.name}" is on a server that is not this hub\'s to pause')
        self._hub.make_known(model)
        self._hub.post(PauseAsked(model=model.name, paused=paused))

    def pause_lease(self, id_: RequestId, *, paused: bool) -> None:
        """The same for who holds a lease. Raises NotFound, InvalidRequest."""
        lease = self._hub.leases.open.get(id_)
        if lease is None:
            raise NotFound(f"there is no lease '{id_}'")
        if lease.engine is None:
            raise InvalidRequest(f"lease '{id_}' is not held yet: there is nothing to pause", field="lease")
        self._hub.post(PauseAsked(model=waits_as(id_), paused=paused))

    async def delete(self, name: str) -> None:
        """Remove the model from this machine; those who wait for it are told. Raises ModelNotFound."""
        model = self._hub.library.get(name).name
        await wait_thread(self._hub.library.remove, name)  # the store may be locked for minutes: a model is hashed
        self._hub.profiles.forget(model)
        self._hub.post(ModelForgotten(model))

    def pull(self, name: str, *, insecure: bool = False) -> AsyncGenerator[PullProgress, None]:
        """Raises NotFound, PullError."""
        return self._renewing(name, self._workshop.pull(name, insecure=insecure))

    def push(self, name: str, *, insecure: bool = False) -> AsyncGenerator[PullProgress, None]:
        """Raises ModelNotFound, PullError."""
        return self._workshop.push(name, insecure=insecure)

    def create(self, name: str, recipe: Recipe) -> AsyncGenerator[PullProgress, None]:
        """Raises RequestError, ModelFileError, PullError."""
        return self._renewing(name, self._workshop.create(name, recipe))

    async def copy(self, source: str, destination: str) -> None:
        """Raises ModelNotFound."""
        await self._workshop.copy(source, destination)
        self._renew(destination)

    def has_blob(self, digest: str) -> bool:
        """Raises InvalidRequest."""
        return self._workshop.has_blob(digest)

    async def receive_blob(self, digest: str, chunks: AsyncIterable[bytes], size_bytes: int | None) -> None:
        """Raises InvalidRequest, DiskFull."""
        await self._workshop.receive_blob(digest, chunks, size_bytes)

    async def _renewing(
        self, name: str, steps: AsyncGenerator[PullProgress, None]
    ) -> AsyncGenerator[PullProgress, None]:
        async with aclosing(steps):
            async for step in steps:
                yield step
        self._renew(name)

    def _renew(self, name: str) -> None:
        """What is in memory under the name leaves when nobody uses it, if it is another model now."""
        try:
            now = self._hub.library.get(name)
        except ModelNotFound:
            return
        if any(
            (one.model.path, one.model.projector_path, one.model.chat_template)
            != (now.path, now.projector_path, now.chat_template)
            for one in self._hub.residents.running.values()
            if one.model.name == now.name
        ):
            self._hub.post(UnloadAsked(model=now.name))

    def check_open(self) -> None:
        """Raises ShuttingDown once the end has begun."""
        self._hub.check_open()

    def residents(self) -> list[ResidentView]:
        gpus = {device.id for device in self._hub.devices if device.kind == "cuda"}
        now_s = self._hub.clock.now_s()
        return [
            ResidentView(
                model=running.model,
                size_bytes=(sum(size for _, size in view.bytes_) or view.parked_bytes)
                + (running.loaded.elsewhere_bytes if running.loaded else 0),
                device_bytes=sum(size for device, size in view.bytes_ if device in gpus)
                + (running.loaded.elsewhere_device_bytes if running.loaded else 0),
                context_tokens=view.placement.settings.context_tokens,
                expires_in_s=None if view.expires_at_s is None else max(0.0, view.expires_at_s - now_s),
                state=_state(view),
                slots=view.slots,
            )
            for view in self._hub.scheduler.residents_view()
            if (running := self._hub.residents.running.get(view.engine)) is not None
        ]

    def status(self) -> JsonObject:
        """For people and programs that want to see all of it: GET /admin/status."""
        hub = self._hub
        ledger = {view.device: view for view in hub.scheduler.ledger_view()}
        now_s, tier = hub.clock.now_s(), hub.scheduler.tier_view()
        return {
            "now_s": now_s,
            "devices": [
                {
                    "id": device.id,
                    "kind": device.kind,
                    "name": device.name,
                    "total_bytes": device.total_bytes,
                    "budget_bytes": ledger[device.id].capacity_bytes,
                    "strangers_bytes": ledger[device.id].strangers_bytes,
                    "residents_bytes": ledger[device.id].residents_bytes,
                    "leases_bytes": ledger[device.id].leases_bytes,
                    "loading_bytes": ledger[device.id].loading_bytes,
                    "promised_bytes": ledger[device.id].promised_bytes,
                    "free_bytes": ledger[device.id].free_bytes,
                    "cores": device.cores,
                }
                for device in hub.devices
            ],
            "residents": [self._resident(view) for view in hub.scheduler.residents_view()],
            "leases": [*hub.leases.to_json()],
            "paused_by_hand": [*hub.scheduler.halted_view()],
            "parked": {"budget_bytes": tier.budget_bytes, "held_bytes": tier.held_bytes},
            "models": [*self._prices()],
            "clients": [*self._clients()],
            "stays": [*hub.stays.to_json(now_s)],
            "queue": [
                {
                    "request": queued.request,
                    "model": queued.model,
                    "client": queued.client,
                    "class": queued.class_.name.lower(),
                    "position": queued.position,
                    "waited_s": queued.waited_s,
                    "predicted_wait_s": queued.predicted_wait_s,
                }
                for queued in hub.scheduler.queue_view()
            ],
        }

    def _prices(self) -> list[JsonObject]:
        weights = self._hub.weights
        return [
            {"model": one.model, "tier": one.tier, "cached_share": one.cached_share, "load_s": one.load_s}
            for one in (weights.prices() if weights else ())
        ]

    def _clients(self) -> list[JsonObject]:
        views = {view.name: view for view in self._hub.scheduler.clients_view()}
        return [
            row | {"queued": view.queued, "serving": view.serving, "served_s": view.served_s} if view else row
            for row in self._hub.stats.to_json()
            for view in (views.get(str(row["name"])),)
        ]

    def _resident(self, view: EngineView) -> JsonObject:
        running = self._hub.residents.running.get(view.engine)
        loaded = running.loaded if running else None
        settings = view.placement.settings
        measured = dict(loaded.measured_bytes) if loaded else {}
        return {
            "engine": view.engine,
            "model": view.model,
            "state": _state(view),
            "how": _how(view),
            "pid": loaded.pid if loaded else None,
            "devices": [device for device, _ in view.bytes_],
            "parked_bytes": view.parked_bytes,
            "ledger_bytes": sum(size for _, size in view.bytes_),
            "estimated_bytes": view.placement.total_bytes,
            "measured_bytes": sum(measured.values()) if measured else None,
            "load_s": loaded.load_s if loaded else None,
            "slots": view.slots,
            "serving": view.serving,
            "context_tokens": settings.context_tokens,
            "threads": settings.threads,
            "gpu_layers": settings.gpu_layers,
            "pinned": view.pinned,
            "paused_by_hand": view.halted,
            "expires_in_s": None
            if view.expires_at_s is None
            else max(0.0, view.expires_at_s - self._hub.clock.now_s()),
            "memory": [*_memory(view)],
        }


def _memory(view: EngineView) -> list[JsonObject]:
    """What it holds on each device, and the estimate it was placed by, in parts; nothing while it is parked."""
    held = dict(view.bytes_)
    return [
        {
            "device": device,
            "held_bytes": held.get(device, 0),
            "weights_bytes": share.weights_bytes + share.repack_bytes + share.projector_bytes,
            "kv_bytes": share.kv_bytes + share.cache_bytes,
            "compute_bytes": share.compute_bytes + share.output_bytes,
            "overhead_bytes": share.overhead_bytes,
        }
        for device, share in view.placement.shares
        if device in held
    ]


def _how(view: EngineView) -> str:
    """What is said with its state: who let it stand still, and that answers which it has begun wait to go on."""
    mid_answer = view.phase in {"parking", "parked"} and view.serving
    return ", ".join(filter(None, ("in mid-answer" if mid_answer else "", "by hand" if view.halted else "")))


def _state(view: EngineView) -> ResidentState:
    match view.phase:
        case "starting":
            return "loading"
        case "ready":
            if view.paused or view.halted:
                return "paused"
            return "draining" if view.gated else "ready"
        case "stopping":
            return "stopping"
        case "parking" | "parked":
            return view.phase
