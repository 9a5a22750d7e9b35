"""The child of one engine: runs llama.cpp's own server until it is told to end.

Its orders come on stdin, so that the key is in no process list: two lines of JSON, the second one perhaps much later.
`{"parent_pid": 1, "environment": {"NAME": "value"}}` and
`{"writes_bytes": 94371840, "parameters": {"n_ctx": 4096, "cpuparams.n_threads": 2, ...}}`
Between them it does its imports and makes ready what it can, so that one that waits has only the model left to load. It prints one line of JSON on
stdout when the model is loaded; everything else goes to stderr.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import signal
import sys
from operator import attrgetter
from typing import Any

from partage.worker.memory import keep_stacks, written_ahead
from partage.worker.tether import tie_to

WARNINGS = 2


def speak_less() -> None:
    """Only warnings and errors from now on: what the load says is needed, dozens of lines with every request are not.

    xllamacpp has no word for it, so llama.cpp's own function is called; where it has another name, the log stays long.
    """
    library = importlib.import_module("xllamacpp.xllamacpp").__file__
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(library)["_Z30common_log_set_verbosity_tholdi"](WARNINGS)


def main() -> None:
    origin = json.loads(sys.stdin.readline())
    tie_to(origin["parent_pid"])
    # libgomp and CUDA read their settings once, when they are loaded: before the import below.
    os.environ.update(origin["environment"])  # noqa: TID251 (set, not read)
    ready = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the library prints on stdout is log, not readiness

    xllamacpp: Any = importlib.import_module("xllamacpp")  # it ships no types

    parameters = xllamacpp.CommonParams()
    keep_stacks()
    line = sys.stdin.readline()
    if not line:
        return  # nobody needs us any more
    orders = json.loads(line)
    for path, value in orders["parameters"].items():
        owner, _, name = path.rpartition(".")
        setattr(attrgetter(owner)(parameters) if owner else parameters, name, value)
    try:
        with written_ahead(orders["writes_bytes"]):
            server = xllamacpp.Server(parameters)
    except RuntimeError as error:
        sys.exit(f"{error}")
    speak_less()
    print(json.dumps({"address": server.listening_address}), file=ready, flush=True)
    # The default action of TERM ends us at once: there is nothing to save, and llama.cpp's own way out takes longer.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
