"""A llama-server that takes the arguments of the real one, lists the devices it is told to, and serves with the library."""

from __future__ import annotations

import sys
from pathlib import Path

from partage.engine.builds import options

PROGRAM = """\
#!{python}
import sys, time
if sys.argv[1] == "--list-devices":
    sys.exit(print({devices!r}))
if sys.argv[1] == "--help":
    sys.exit(print({options!r}))
import xllamacpp
words = dict(zip(sys.argv[1:], sys.argv[2:]))
assert words["--fit"] == "off" and "--no-ui" in words, words
p = xllamacpp.CommonParams()
p.model.path, p.hostnames, p.ui = words["--model"], [words["--host"]], False
p.api_keys = open(words["--api-key-file"]).read().split()
p.n_ctx, p.n_parallel = int(words["--ctx-size"]), int(words["--parallel"])
p.cpuparams.n_threads = p.cpuparams_batch.n_threads = int(words["--threads"])
p.embedding = "--embeddings" in sys.argv
p.verbosity, p.fit_params, p.cache_ram_mib = 4, False, 0
server = xllamacpp.Server(p)
time.sleep(600)
"""
WITH_CUDA = "Available devices:\n  CUDA0: NVIDIA H200 (143771 MiB, 143171 MiB free)"
WITHOUT = "Available devices:\n  (none)"


def write_stand_in(path: Path, devices: str = WITHOUT) -> Path:
    path.write_text(PROGRAM.format(python=sys.executable, devices=devices, options=" ".join(options())))
    path.chmod(0o700)
    return path
