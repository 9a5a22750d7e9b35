"""How long reading a GGUF header takes for a vocabulary of 150,000 tokens (and as many merges), against the gguf package.

python -m bench gguf_header
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np

from partage.models.anatomy import anatomy
from partage.models.gguf_header import read_header

TOKENS = 150_000
ROUNDS = 9


def write(path: Path) -> None:
    words = [f"token{number}" for number in range(TOKENS)]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(32)
    writer.add_embedding_length(4096)
    writer.add_head_count(32)
    writer.add_token_list(words)
    writer.add_token_scores([0.0] * TOKENS)
    writer.add_token_types([1] * TOKENS)
    writer.add_token_merges([f"{word} {word}" for word in words])
    for number in range(300):
        writer.add_tensor(f"blk.{number}.attn_q.weight", np.zeros((1, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def milliseconds(read: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Median by the wall clock, and of processor time: on a busy machine only the second says what the reader costs."""
    wall: list[float] = []
    processor: list[float] = []
    for _ in range(rounds):
        began, began_processor = time.perf_counter(), time.process_time()
        read()
        wall.append((time.perf_counter() - began) * 1000)
        processor.append((time.process_time() - began_processor) * 1000)
    return statistics.median(wall), statistics.median(processor)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "large.gguf")
        write(path)
        ours = milliseconds(lambda: anatomy(read_header(path)), ROUNDS)
        theirs = milliseconds(lambda: gguf.GGUFReader(path), 1)
    print(f"header and anatomy, {TOKENS} tokens and merges: {ours[0]:.0f} ms, of the processor {ours[1]:.0f} ms")
    print(
        f"the gguf package: {theirs[0]:.0f} ms, of the processor {theirs[1]:.0f} ms ({theirs[1] / ours[1]:.0f} times)"
    )


if __name__ == "__main__":
    main()
