"""The child of one engine: runs llama.cpp's own server until it is told to end.

Its orders come as one JSON object on stdin, so that the key is in no process list:
`{"parent_pid": 1, "environment": {"NAME": "value"}, "parameters": {"n_ctx": 4096, "cpuparams.n_threads": 2, ...}}`
It prints one line of JSON on stdout when the model is loaded; everything else goes to stderr.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from operator import attrgetter
from typing import Any

from partage.worker.tether import tie_to


def main() -> None:
    orders = json.load(sys.stdin)
    tie_to(orders["parent_pid"])
    # libgomp and CUDA read their settings once, when they are loaded: before the import below.
    os.environ.update(orders["environment"])  # noqa: TID251 (set, not read)
    ready = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the library prints on stdout is log, not readiness

    xllamacpp: Any = importlib.import_module("xllamacpp")  # it ships no types

    parameters = xllamacpp.CommonParams()
    for path, value in orders["parameters"].items():
        owner, _, name = path.rpartition(".")
        setattr(attrgetter(owner)(parameters) if owner else parameters, name, value)
    try:
        server = xllamacpp.Server(parameters)
    except RuntimeError as error:
        sys.exit(f"{error}")
    print(json.dumps({"address": server.listening_address}), file=ready, flush=True)
    # The default action of TERM ends us at once: there is nothing to save, and llama.cpp's own way out takes longer.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
