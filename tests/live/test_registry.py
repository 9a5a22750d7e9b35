from __future__ import annotations

import asyncio
import hashlib
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import aclosing
from pathlib import Path
from types import SimpleNamespace

import httpx
import msgspec
import pytest
from registry_process import Tap, environment, gguf_of, push_blob, push_model, put_manifest, running_registry, tapped

from partage.errors import DigestMismatch, DiskFull, ModelFileError, NotFound, PullError, Unsupported
from partage.models import blobs
from partage.models.names import parse
from partage.models.progress import PullProgress
from partage.models.pull import pull
from partage.models.push import push
from partage.models.reach import Reach
from partage.models.store import About, Store
from partage.models.variants import variants_of

pytestmark = pytest.mark.live

WEIGHTS_BYTES = 24 << 20
TEMPLATE = "{{ .System }}\nUSER: {{ .Prompt }}\nASSISTANT: "
TEXTS = [
    ("template", TEMPLATE.encode()),
    ("system", b"Be brief."),
    ("params", b'{"stop": ["USER:"], "temperature": 0.5, "num_ctx": 64}'),
    ("messages", b'[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]'),
    ("license", b"MIT"),
    ("license", b"and more"),
]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    with running_registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return gguf_of(tmp_path_factory.mktemp("weights") / "large.gguf", WEIGHTS_BYTES).read_bytes()


@pytest.fixture(scope="module")
def large(registry: str, weights: bytes) -> str:
    push_model(registry, "library/large:latest", [("model", weights), *TEXTS])
    return "large"


@pytest.fixture
def small(tmp_path: Path) -> bytes:
    return gguf_of(tmp_path / "small.gguf", 1600).read_bytes()


@pytest.fixture
def tap(registry: str) -> Generator[Tap]:
    with tapped(registry) as tap:
        yield tap


@pytest.fixture(autouse=True)
def short_ranges(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(blobs, "RANGE_BYTES", 4 << 20)
    monkeypatch.setattr(blobs, "_FIRST_PAUSE_S", 0.01)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


async def finish(store: Store, name: str, address: str) -> list[PullProgress]:
    async with aclosing(pull(store, name, Reach(registry=address))) as steps:
        return [step async for step in steps]


def sha256_of(path: str) -> str:
    return f"sha256:{hashlib.sha256(Path(path).read_bytes()).hexdigest()}"


def tags_of(address: str, repository: str) -> list[str]:
    return httpx.get(f"http://{address}/v2/{repository}/tags/list").json()["tags"]


def pull_elsewhere(store: Store, address: str, *, largest_file_bytes: int = -1) -> subprocess.Popen[str]:
    """The pull of "large" in a process of its own."""
    program = (
        "import asyncio, resource, sys\n"
        "from pathlib import Path\n"
        "from partage.errors import PartageError\n"
        "from partage.models import blobs\n"
        "from partage.models.pull import pull\n"
        "from partage.models.reach import Reach\n"
        "from partage.models.store import Store\n"
        "blobs.RANGE_BYTES = 4 << 20\n"
        "limit = int(sys.argv[3])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))\n"
        "async def main():\n"
        "    async for _ in pull(Store(Path(sys.argv[1])), 'large', Reach(registry=sys.argv[2])):\n"
        "        pass\n"
        "try:\n"
        "    asyncio.run(main())\n"
        "except PartageError as error:\n"
        "    sys.exit(f'{type(error).__name__}: {error.message}')\n"
    )
    arguments = [str(store.home), address, str(largest_file_bytes)]
    return subprocess.Popen([sys.executable, "-c", program, *arguments], stderr=subprocess.PIPE, text=True)


def kill_after(process: subprocess.Popen[str], store: Store, saved_bytes: int) -> int:
    """SIGKILL once the pull remembers so many bytes; how many they are."""
    saved = 0
    for _ in range(300):
        time.sleep(0.1)
        states = [msgspec.json.decode(file.read_bytes()) for file in store.partial.glob("*/ranges.json")]
        saved = sum(one["done"] for state in states for one in state)
        if saved > saved_bytes:
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return saved


async def test_a_model_comes_with_all_that_its_layers_say(store: Store, registry: str, large: str):
    steps = await finish(store, large, registry)
    model = store.get("large")
    assert sha256_of(model.path) == model.digest
    assert (model.system, model.licence, model.source) == (
        "Be brief.",
        "MIT\n\nand more",
        f"{registry}/library/large:latest",
    )
    assert model.parameters == {"stop": ["USER:"], "temperature": 0.5, "num_ctx": 64}
    assert [(one.role, one.content) for one in model.messages] == [("user", "hi"), ("assistant", "ho")]
    assert model.template == TEMPLATE
    assert "USER: " in model.chat_template
    assert steps[0].status == "pulling manifest"
    assert [step.status for step in steps[-2:]] == ["verifying sha256 digest", "writing manifest"]
    pulling = [step for step in steps if step.status == f"pulling {model.digest[7:19]}"]
    assert pulling[-1].completed_bytes == pulling[-1].total_bytes == model.size_bytes
    assert not [path for path in store.partial.iterdir() if path.is_dir()]


async def test_a_second_pull_asks_for_the_manifest_only(store: Store, tap: Tap, registry: str, large: str):
    await finish(store, large, registry)
    steps = await finish(store, large, tap.address)
    assert [step.status for step in steps] == ["pulling manifest", "writing manifest"]
    assert tap.passed_bytes < 100_000


async def test_a_name_with_a_host_needs_no_configuration(store: Store, registry: str, large: str):
    async with aclosing(pull(store, f"{registry}/library/{large}")) as steps:
        async for _ in steps:
            pass
    assert store.get(f"{registry}/library/large:latest").name == f"{registry}/library/large:latest"


async def test_a_pull_killed_in_the_middle_goes_on_where_it_was(store: Store, tap: Tap, large: str):
    tap.hold_at_bytes = WEIGHTS_BYTES // 2
    process = pull_elsewhere(store, tap.address)
    saved_bytes = kill_after(process, store, WEIGHTS_BYTES // 3)
    assert saved_bytes > WEIGHTS_BYTES // 3
    assert store.list() == []
    tap.go_on.set()
    tap.hold_at_bytes = None
    before_bytes = tap.passed_bytes
    steps = await finish(store, large, tap.address)
    assert next(step.completed_bytes or 0 for step in steps if step.completed_bytes) >= saved_bytes
    assert tap.passed_bytes - before_bytes < WEIGHTS_BYTES - saved_bytes + 1_000_000
    model = store.get("large")
    assert sha256_of(model.path) == model.digest


async def test_streams_that_break_off_are_taken_up_again(store: Store, tap: Tap, large: str):
    tap.cut_after_bytes = 3 << 20
    await finish(store, large, tap.address)
    model = store.get("large")
    assert sha256_of(model.path) == model.digest


async def test_a_closed_pull_leaves_no_task_and_can_be_repeated(store: Store, tap: Tap, large: str):
    tap.hold_at_bytes = WEIGHTS_BYTES // 4
    async with aclosing(pull(store, large, Reach(registry=tap.address))) as steps:
        async for step in steps:
            if step.completed_bytes:
                break
    assert asyncio.all_tasks() == {asyncio.current_task()}
    tap.go_on.set()
    tap.hold_at_bytes = None
    await finish(store, large, tap.address)
    assert store.exists("large")


async def test_two_pulls_of_one_model_share_one_download(store: Store, tap: Tap, large: str):
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(finish(store, large, tap.address))
    assert tap.passed_bytes < WEIGHTS_BYTES * 1.5
    assert store.exists("large")


def layers_of(manifest: dict[str, object]) -> list[dict[str, object]]:
    layers = manifest["layers"]
    assert isinstance(layers, list)
    return layers


def corrupt(folder: Path, digest: str, data: bytes) -> None:
    """Change a blob behind the registry's back."""
    (blob,) = folder.rglob(f"{digest.removeprefix('sha256:')}/data")
    blob.write_bytes(data)


async def test_a_blob_that_is_not_what_its_digest_says_is_discarded(store: Store, tmp_path: Path, small: bytes):
    with running_registry(tmp_path) as address:
        manifest = push_model(address, "library/forged:1", [("model", small)])
        corrupt(tmp_path, str(layers_of(manifest)[0]["digest"]), small[:-1] + b"x")
        with pytest.raises(DigestMismatch, match=r"what arrived has sha256 .* promised was .* discarded"):
            await finish(store, "forged:1", address)
    assert store.list() == []
    assert not list(store.home.rglob("blob"))


async def test_a_truncated_blob_is_told_from_a_broken_connection(store: Store, tmp_path: Path, small: bytes):
    with running_registry(tmp_path) as address:
        manifest = push_model(address, "library/short:1", [("model", small)])
        corrupt(tmp_path, str(layers_of(manifest)[0]["digest"]), small[:-100])
        with pytest.raises(PullError, match=r"bytes|range|broke off"):
            await finish(store, "short:1", address)
    assert store.list() == []


async def test_a_size_that_is_not_the_promised_one_is_refused(store: Store, registry: str, small: bytes):
    manifest = push_model(registry, "library/sized:1", [("model", small)])
    layers = [{**layers_of(manifest)[0], "size": len(small) - 4}]
    put_manifest(registry, "library/sized", "1", {**manifest, "layers": layers})
    with pytest.raises(PullError, match="promised"):
        await finish(store, "sized:1", registry)


async def test_an_adapter_is_refused_by_name(store: Store, registry: str, small: bytes):
    push_model(registry, "library/adapted:1", [("model", small), ("adapter", b"lora")])
    with pytest.raises(Unsupported, match="adapter"):
        await finish(store, "adapted:1", registry)


async def test_a_container_image_is_no_model(store: Store, registry: str):
    push_model(registry, "library/image:1", [("rootfs.diff.tar", b"tar")])
    with pytest.raises(PullError, match="no model layer"):
        await finish(store, "image:1", registry)


async def test_weights_that_are_no_gguf_never_become_a_model(store: Store, registry: str):
    push_model(registry, "library/junk:1", [("model", b"not a gguf at all")])
    with pytest.raises(ModelFileError, match="GGUF"):
        await finish(store, "junk:1", registry)
    assert store.list() == []


async def test_parameters_of_a_wrong_type_are_named(store: Store, registry: str, small: bytes):
    push_model(registry, "library/params:1", [("model", small), ("params", b'{"stop": {"a": 1}}')])
    with pytest.raises(PullError, match="parameters"):
        await finish(store, "params:1", registry)


async def test_a_name_the_registry_does_not_have_is_not_found(store: Store, registry: str):
    with pytest.raises(NotFound, match=rf"there is no model {registry}/library/nobody:latest"):
        await finish(store, "nobody", registry)


async def test_a_registry_that_is_not_there_is_named(store: Store):
    with pytest.raises(PullError, match=r"127\.0\.0\.1:9 cannot be reached"):
        await finish(store, "anything", "127.0.0.1:9")


async def test_no_room_is_told_with_the_sum(store: Store, registry: str, large: str, monkeypatch: pytest.MonkeyPatch):
    def almost_full(folder: Path) -> SimpleNamespace:
        return SimpleNamespace(free=1_000_000)

    monkeypatch.setattr("partage.models.disk.shutil.disk_usage", almost_full)
    with pytest.raises(DiskFull, match=r"model [0-9a-f]{12} 24.0 MiB = 24.0 MiB needed, 977 KiB free"):
        await finish(store, large, registry)


async def test_a_disk_that_fills_up_is_told_and_the_pull_can_be_repeated(store: Store, registry: str, large: str):
    process = pull_elsewhere(store, registry, largest_file_bytes=1 << 20)
    _, errors = process.communicate(timeout=60)
    assert errors.startswith("DiskFull: not enough disk space in")
    await finish(store, large, registry)
    assert store.exists("large")


async def test_what_is_pushed_comes_back_the_same(store: Store, tmp_path: Path, registry: str, small: bytes):
    file = tmp_path / "mine.gguf"
    file.write_bytes(small)
    about = About(system="Be kind.", parameters={"seed": 7, "stop": ["x"]}, licence="mit", messages=(("user", "hi"),))
    store.add_file("me/mine:2", file, about=about)
    async with aclosing(push(store, "me/mine:2", Reach(registry=registry))) as pushing:
        statuses = [step.status async for step in pushing]
    assert statuses[0] == "retrieving manifest"
    assert statuses[-1] == "pushing manifest"
    elsewhere = Store(tmp_path / "elsewhere")
    await finish(elsewhere, "me/mine:2", registry)
    mine, theirs = store.get("me/mine:2"), elsewhere.get("me/mine:2")
    assert (theirs.digest, theirs.system, theirs.parameters, theirs.licence, theirs.messages) == (
        mine.digest,
        mine.system,
        mine.parameters,
        mine.licence,
        mine.messages,
    )
    assert tags_of(registry, "me/mine") == ["2"]


async def test_what_the_registry_has_is_not_sent_again(
    store: Store, tap: Tap, registry: str, weights: bytes, tmp_path: Path
):
    file = tmp_path / "large.gguf"
    file.write_bytes(weights)
    store.add_file("me/large", file)
    push_blob(registry, "me/large", weights)
    async with aclosing(push(store, "me/large", Reach(registry=tap.address))) as pushing:
        sent = [step async for step in pushing if step.digest == store.get("me/large").digest]
    assert [step.completed_bytes for step in sent] == [0, len(weights)]
    assert tags_of(registry, "me/large") == ["latest"]


async def test_the_variants_of_a_name_are_those_of_the_same_model(registry: str, tmp_path: Path):
    eight, four, other = (
        gguf_of(tmp_path / f"{seed}.gguf", size, seed=seed).read_bytes()
        for seed, size in ((1, 64_000), (2, 32_000), (3, 96_000))
    )
    tags = {"latest": four, "3b": four, "3b-chat-q4_0": four, "3b-chat-q8_0": eight, "3b-text-q8_0": other}
    for tag, data in tags.items():
        push_model(registry, f"library/many:{tag}", [("model", data)])
    found = await variants_of(parse("many"), Reach(registry=registry))
    assert [(variant.name, variant.quantisation, variant.size_bytes) for variant in found] == [
        ("many:3b-chat-q8_0", "Q8_0", len(eight)),
        ("many:3b-chat-q4_0", "Q4_0", len(four)),
    ]
    anatomies = [variant.anatomy for variant in found]
    assert all(anatomy is not None and anatomy.layers == 1 for anatomy in anatomies)


def test_pull_fit_takes_the_best_that_fits_beside_what_is_configured_and_says_why(registry: str, tmp_path: Path):
    for name, size in (("q8_0", 48 << 20), ("q4_0", 24 << 20)):
        push_model(registry, f"library/fits:{name}", [("model", gguf_of(tmp_path / name, size).read_bytes())])
    push_model(registry, "library/fits:latest", [("model", (tmp_path / "q4_0").read_bytes())])
    home = tmp_path / "home"
    Store(home).add_file("other", gguf_of(tmp_path / "other.gguf", 4096))
    config = tmp_path / "partage.yaml"
    config.write_text(
        f"registry: {registry}\ndevices: [{{host: true, memory: 64GiB}}]\nmodels: {{other: {{slots: 1}}}}"
    )
    command = [sys.executable, "-m", "partage", "pull", "fits", "--fit"]
    variables = environment(PARTAGE_HOME=str(home), PARTAGE_CONFIG=str(config))
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=True)
    assert "room beside other:latest: host" in done.stderr
    assert "chosen: fits:q8_0, the best that fits" in done.stderr
    assert done.stdout.splitlines()[-1] == "fits:q8_0 is ready"
    assert {model.name for model in Store(home).list()} >= {"fits:q8_0", "other:latest"}
