"""An engine as somebody would start it by hand: a fresh Python that runs llama.cpp's server. What benches compare with."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from partage.engine.launch import parameters
from partage.engine.spec import LaunchSpec

PROGRAM = """
import json, operator, sys, time
import xllamacpp
parameters = xllamacpp.CommonParams()
for path, value in json.loads(sys.argv[1]).items():
    owner, _, name = path.rpartition(".")
    setattr(operator.attrgetter(owner)(parameters) if owner else parameters, name, value)
began = time.perf_counter()
server = xllamacpp.Server(parameters)
print("loaded", time.perf_counter() - began, flush=True)
time.sleep(600)
"""


ASKED = ("model.path", "hostnames", "api_keys", "n_ctx", "n_parallel", "cpuparams.n_threads", "embedding")
"""What anybody says who starts a server by hand. The rest is how we start one: no warm-up, no probing of the memory, ..."""


@dataclass(frozen=True, slots=True)
class ByHand:
    socket_path: str
    began: float
    """By time.perf_counter()."""
    ready_s: float
    load_s: float
    """Of that, the load alone."""


@asynccontextmanager
async def engine_by_hand(spec: LaunchSpec, *, tuned: bool = True) -> AsyncGenerator[ByHand]:
    """With our parameters, or else with llama.cpp's defaults. Its key is "key"."""
    with tempfile.TemporaryDirectory() as folder:
        socket_path = f"{folder}/e.sock"
        ours = parameters(spec, socket_path, "key")
        orders = json.dumps(ours if tuned else {name: ours[name] for name in ASKED})
        began = time.perf_counter()
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PROGRAM, orders), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            assert child.stdout is not None
            line = b" "
            while line and not line.startswith(b"loaded"):
                line = await child.stdout.readline()
            yield ByHand(socket_path, began, time.perf_counter() - began, float(line.split()[1]))
        finally:
            child.kill()
            await child.wait()
