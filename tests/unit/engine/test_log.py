from __future__ import annotations

import pytest

from partage.engine.log import KEPT_LINES, LONGEST_LINE, Log, buffer_bytes

LOAD = b"""\
0.00.166.150 I load_tensors:   CPU_Mapped model buffer size =    92.10 MiB
0.00.168.958 I llama_context:        CPU  output buffer size =     0.38 MiB
0.00.169.059 I llama_kv_cache:        CPU KV buffer size =    45.00 MiB
0.00.194.207 I llama_kv_cache: size =   45.00 MiB (  1024 cells,  30 layers,  2/2 seqs), K (f16):   22.50 MiB
0.00.198.202 I sched_reserve:        CPU compute buffer size =     7.82 MiB
load_tensors:        CUDA0 model buffer size =  4403.49 MiB
llama_kv_cache:      CUDA0 KV buffer size =   512.00 MiB
llama_context:  CUDA_Host  output buffer size =     0.50 MiB
"""


def test_buffer_sizes_are_read_per_backend_and_part():
    log = Log()
    log.feed(LOAD)
    assert buffer_bytes(log.buffers, "CPU_Mapped") == round(92.10 * 2**20)
    assert buffer_bytes(log.buffers, "CPU", "compute") == round(7.82 * 2**20)
    assert buffer_bytes(log.buffers, "CPU", "KV", "output") == (45 * 2**20) + round(0.38 * 2**20)
    assert buffer_bytes(log.buffers, "CUDA0") == round(4403.49 * 2**20) + 512 * 2**20
    assert len(log.buffers) == 7


def test_lines_split_between_reads_are_put_together():
    whole, pieces = Log(), Log()
    whole.feed(LOAD)
    for start in range(0, len(LOAD), 7):
        pieces.feed(LOAD[start : start + 7])
    assert pieces.tail() == whole.tail()
    assert pieces.buffers == whole.buffers


def test_only_the_last_lines_are_kept_and_none_is_long():
    log = Log()
    log.feed(b"".join(b"line %d\n" % number for number in range(500)))
    log.feed(b"x" * 1_000_000)
    assert len(log.tail()) == KEPT_LINES + 1
    assert log.tail()[-2] == "line 499"
    assert len(log.tail()[-1]) == LONGEST_LINE


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (
            b"0.00.1 I build_info: unknown\n0.00.2 E load: tensor 'x' data is not within the file bounds\n"
            b"0.00.3 E main: failed to load model\nsorry\n",
            "load: tensor 'x' data is not within the file bounds",
        ),
        (b"starting\nerror: unknown argument: --fit\nusage: llama-server\n", "error: unknown argument: --fit"),
        (b"one\ntwo\n", "two"),
        (b"no newline at the end", "no newline at the end"),
        (b"", "it wrote nothing"),
    ],
    ids=["levels", "no levels", "no complaint", "unfinished", "empty"],
)
def test_reason_is_the_line_that_says_why(lines: bytes, reason: str):
    log = Log()
    log.feed(lines)
    assert log.reason() == reason


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"ggml_backend_cuda_buffer_type_alloc_buffer: allocating 9.00 MiB: cudaMalloc failed: out of memory\n", True),
        (b"ggml_aligned_malloc: insufficient memory (attempted to allocate 4096.00 MB)\n", True),
        (b"alloc_tensor_range: failed to allocate CPU buffer of size 123\n", True),
        (b"terminate called after throwing an instance of 'std::bad_alloc'\n", True),
        (b"0.00.1 I srv: using 4 threads\n", False),
    ],
)
def test_out_of_memory_is_recognised(line: bytes, expected: bool):
    log = Log()
    log.feed(line)
    assert log.out_of_memory is expected


def test_bytes_that_are_no_text_do_no_harm():
    log = Log()
    log.feed(b"\xff\xfe broken \x00\n")
    assert "broken" in log.tail()[0]
