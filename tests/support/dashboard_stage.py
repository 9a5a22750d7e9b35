"""The dashboard as a process, before a hub whose state the test writes, and what a busy hub says."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

import uvicorn
from starlette.types import ASGIApp

from partage.api.app import create_app
from partage.api.fake_hub import FakeHub
from partage.api.ports import ApiSettings
from partage.json_value import JsonObject

State: TypeAlias = Any

GIB = 1 << 30
MIB = 1 << 20


class StagedHub(FakeHub):
    """Says what the test wrote into `state`, `alarms` and `around`; satisfies api.watching.WatchPort too."""

    def __init__(self, state: JsonObject | None = None) -> None:
        super().__init__()
        self.state: State = state if state is not None else quiet()
        self.alarms: State = {"standing": [], "history": []}
        self.around: State = {"docker": False, "containers": [], "gpus": []}
        self.asked = 0

    def status(self) -> JsonObject:
        self.asked += 1
        self.state["now_s"] = asyncio.get_running_loop().time()
        return self.state

    async def unload(self, name: str) -> None:
        await super().unload(name)
        self.state["residents"] = [one for one in self.state["residents"] if one["model"] != name]

    def metrics_text(self) -> bytes:
        return b""

    def alerts_json(self) -> JsonObject:
        return self.alarms

    def machine_json(self) -> JsonObject:
        return self.around

    def history_json(self, seconds: float) -> JsonObject:
        return {}

    def app(self) -> ASGIApp:
        return create_app(self, ApiSettings(version="0"), self)


def quiet() -> JsonObject:
    """A hub that has done nothing yet."""
    host: JsonObject = {
        "id": "host", "kind": "host", "name": "Host memory", "total_bytes": 24 * GIB, "budget_bytes": 20 * GIB,
        "strangers_bytes": 0, "free_bytes": 20 * GIB,
    }  # fmt: skip
    return {"now_s": 0.0, "devices": [host], "residents": [], "clients": [], "queue": [], "stays": []}


def resident(model: str, device: str, size: int, **more: object) -> State:
    parts = {"weights_bytes": size * 6 // 10, "kv_bytes": size * 2 // 10, "compute_bytes": size // 10}
    share = {"device": device, "held_bytes": size, "overhead_bytes": size // 10, **parts}
    return {
        "engine": f"{model}#1", "model": model, "state": "ready", "ledger_bytes": size, "measured_bytes": size, "slots": 4,
        "serving": 1, "context_tokens": 4096, "pinned": False, "expires_in_s": 240.0, "memory": [share], **more,
    }  # fmt: skip


def busy(now_s: float) -> JsonObject:
    """Two GPUs and the host, models that come and go, and a queue."""
    state: State = quiet()
    for number in (0, 1):
        state["devices"].insert(number, {
            "id": f"GPU-{number}", "kind": "cuda", "name": f"NVIDIA RTX 4000 Ada {number}", "total_bytes": 20 * GIB,
            "budget_bytes": 19 * GIB, "strangers_bytes": 0 if number else 2 * GIB, "free_bytes": 3 * GIB,
        })  # fmt: skip
    state["residents"] = [
        resident("chatty:latest", "GPU-0", 9 * GIB, serving=3, pinned=True, expires_in_s=None),
        resident("seer:latest", "GPU-0", 5 * GIB, state="loading", serving=0, measured_bytes=None),
        resident("coder:latest", "GPU-1", 13 * GIB, state="draining"),
        resident("embedder:latest", "host", 700 * MIB, serving=0, slots=8),
    ]
    quantiles = {"p50": 0.4, "p95": 3.2, "max": 14.0}
    state["clients"] = [
        {
            "name": name, "class": class_, "weight": 1.0, "requests": number * 120 + 17, "done": 10, "failed": 0,
            "refused": number, "streamed_tokens": 1000, "queued": queued, "serving": 1, "served_s": 431.0 * (number + 1),
            "queued_s": quantiles, "ttft_s": quantiles, "tokens_per_s": {"p50": 41.5, "p95": 60.0, "max": 80.0},
        }
        for number, (name, class_, queued) in enumerate(
            (("chat", "interactive", 1), ("rag", "interactive", 2), ("documents", "batch", 12), ("172.18.0.7", "normal", 0))
        )
    ]  # fmt: skip
    state["queue"] = [
        {
            "request": f"{client}-{place}", "model": model, "client": client, "class": class_, "position": place,
            "waited_s": 2.5 * place, "predicted_wait_s": 4.0 + 6.0 * place,
        }
        for client, class_, model, count in (
            ("chat", "interactive", "seer:latest", 1), ("rag", "interactive", "chatty:latest", 2),
            ("documents", "batch", "seer:latest", 12),
        )
        for place in range(1, count + 1)
    ]  # fmt: skip
    state["stays"] = [
        {
            "engine": f"{model}#{number}", "model": model, "devices": {device: size * GIB}, "came": "2 requests wait for it",
            "started_s": now_s - began, "ready_s": now_s - began + load, "ended_s": None if end is None else now_s - end,
            "left": "" if end is None else why, "failed": why == "it crashed",
        }
        for number, (model, device, size, began, load, end, why) in enumerate((
            ("chatty:latest", "GPU-0", 9, 3300, 11, None, ""),
            ("embedder:latest", "host", 1, 3250, 2, None, ""),
            ("seer:latest", "GPU-1", 5, 3000, 14, 2300, "coder:latest needs its memory"),
            ("coder:latest", "GPU-1", 13, 2290, 41, 1700, "seer:latest needs its memory"),
            ("seer:latest", "GPU-1", 5, 1690, 12, 1200, "idle for 5 min"),
            ("coder:latest", "GPU-1", 13, 1150, 38, 1050, "it crashed"),
            ("coder:latest", "GPU-1", 13, 1040, 36, None, ""),
            ("seer:latest", "GPU-0", 5, 9, 30, None, ""),
        ))
    ]  # fmt: skip
    state["stays"][-1]["ready_s"] = None
    state["leases"] = [
        {
            "id": name, "name": name, "client": client, "class": class_, "state": phase, "device": device, "bytes": size * GIB,
            "measured_bytes": used, "exclusive": False, "paused_by_hand": by_hand, "position": position,
            "predicted_wait_s": None if position is None else 340.0, "since_s": 1230.0,
        }
        for name, client, class_, phase, device, size, used, by_hand, position in (
            ("train-1", "research", "batch", "paused", "GPU-1", 4, 5 * GIB, False, None),
            ("notebook-2", "ana", "interactive", "paused", "host", 2, 900 * MIB, True, None),
            ("render-3", "studio", "batch", "waiting", "", 8, None, False, 1),
        )
    ]  # fmt: skip
    state["parked"] = {"budget_bytes": 5 * GIB, "held_bytes": 3 * GIB}
    state["residents"] += [
        resident("writer:latest", "GPU-0", 0, state="parked", serving=0, how="", parked_bytes=3 * GIB, memory=[]),
    ]
    state["residents"][3] |= {"paused_by_hand": True, "state": "paused", "how": "by hand"}
    state["paused_by_hand"] = ["embedder:latest"]
    state["stays"].append({
        "engine": "lease:train-1#9", "model": "train-1", "devices": {"GPU-1": 4 * GIB}, "came": "a lease", "lease": True,
        "started_s": now_s - 1230, "ready_s": now_s - 1230, "ended_s": None, "left": "", "failed": False,
        "pauses": [
            {"reason": "urgent", "from_s": now_s - 900, "to_s": now_s - 500},
            {"reason": "urgent", "from_s": now_s - 60, "to_s": None},
        ],
    })  # fmt: skip
    return state


@asynccontextmanager
async def listening(app: ASGIApp, port: int = 0) -> AsyncGenerator[str]:
    """The application on a socket of this machine while inside."""
    listener = socket.create_server(("127.0.0.1", port))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
    with listener:
        serving = asyncio.get_running_loop().create_task(server.serve([listener]))
        try:
            while not server.started:  # noqa: ASYNC110 - uvicorn offers no event
                await asyncio.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


@asynccontextmanager
async def dashboard(home: Path, hub_url: str, **urls: str) -> AsyncGenerator[str]:
    """`partage dashboard` on a port of its own; its URL. `urls`: documents, rag."""
    with (home / "dashboard.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "partage", "dashboard", "--port", "0", "--announce",
            env={
                **os.environ, "PARTAGE_HOME": str(home), "PARTAGE_HUB_URL": hub_url,
                "PARTAGE_DOCUMENTS_URL": urls.get("documents", "http://127.0.0.1:9"),
                "PARTAGE_RAG_URL": urls.get("rag", "http://127.0.0.1:9"),
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            line = await process.stdout.readline()
        assert line, (home / "dashboard.log").read_text()
        yield json.loads(line)["ready"]
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(10):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
