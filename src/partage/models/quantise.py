"""Quantises a GGUF on the way into the store: llama.cpp's own program where it is installed, else ours for its types."""

from __future__ import annotations

import shutil
from collections.abc import AsyncGenerator
from pathlib import Path

from partage.domain import Anatomy
from partage.errors import Unsupported
from partage.models import anatomy as facts
from partage.models.children import child_process, failure, wait_a_tick
from partage.models.disk import check_space, disk_errors, size_bytes
from partage.models.progress import PullProgress

PROGRAM = "llama-quantize"
BITS = {
    "Q2_K": 3.0, "Q3_K_S": 3.6, "Q3_K_M": 4.0, "Q3_K_L": 4.3, "IQ4_XS": 4.4, "Q4_0": 4.6, "Q4_K_S": 4.7, "Q4_K_M": 4.9,
    "Q4_1": 5.1, "Q5_0": 5.6, "Q5_K_S": 5.6, "Q5_K_M": 5.8, "Q5_1": 6.1, "Q6_K": 6.6, "Q8_0": 8.6, "F16": 16.1,
    "BF16": 16.1,
}  # fmt: skip
"""Bits per weight, embeddings and scales in it: for the disk-space check and the progress bar."""
OWN = frozenset({"Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "F16", "BF16"})


def check_type(anatomy: Anatomy, wanted: str) -> str:
    """The type as llama.cpp spells it. Raises Unsupported."""
    to, has = wanted.upper(), facts.quantisation(anatomy)
    possible = BITS.keys() if shutil.which(PROGRAM) else OWN
    if to not in possible:
        rest = "" if shutil.which(PROGRAM) else f"; {PROGRAM} on the PATH can do the K types too"
        raise Unsupported(f"cannot quantise to {wanted!r}; possible here: {', '.join(sorted(possible))}{rest}")
    if has not in facts.UNQUANTISED:
        raise Unsupported(f"the model is {has} already; only F32, F16 and BF16 models can be quantised")
    return to


async def quantise(source: Path, anatomy: Anatomy, target: Path, to: str) -> AsyncGenerator[PullProgress, None]:
    """Write `source` as `to`, in a child process. Raises ModelFileError, DiskFull, PullError."""
    expected_bytes = int(facts.parameter_count(anatomy) * BITS[to] / 8)
    status = f"quantising {facts.quantisation(anatomy)} to {to}"
    with disk_errors(target.parent):
        check_space(target.parent, {"quantised model": expected_bytes})
        log = target.with_suffix(".log")
        program = shutil.which(PROGRAM)
        task = (
            ("program", program, str(source), str(target), to)
            if program
            else ("quantise", str(source), str(target), to)
        )
        async with child_process(log, *task) as process:
            while process.returncode is None:
                yield PullProgress(status, "", expected_bytes, min(size_bytes(target), expected_bytes))
                await wait_a_tick(process)
        if process.returncode != 0:
            raise failure(process.returncode, log, status)
