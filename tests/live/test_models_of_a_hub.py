"""Models made, copied, sent and read in place, as Ollama's own client sees them through a running hub."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any

import gguf
import httpx
import msgspec
import ollama
import pytest
from gguf.scripts.gguf_new_metadata import copy_with_new_metadata
from hub_process import HubProcess, running_hub
from registry_process import running_registry

from partage.models.store import Store

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    with running_registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture(scope="module")
def theirs(model_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An Ollama directory whose one model has a GGUF of ours."""
    path = tmp_path_factory.mktemp("ollama")
    model = Store(model_home).get("smollm2:135m")
    layers: list[dict[str, object]] = []
    (path / "blobs").mkdir()
    (path / "blobs" / model.digest.replace(":", "-")).symlink_to(model.path)
    layers.append({"mediaType": "application/vnd.ollama.image.model", "digest": model.digest, "size": model.size_bytes})
    config = b"{}"
    digest = hashlib.sha256(config).hexdigest()
    (path / "blobs" / f"sha256-{digest}").write_bytes(config)
    manifest = path / "manifests" / "registry.example.com" / "library" / "theirs" / "latest"
    manifest.parent.mkdir(parents=True)
    about = {"mediaType": "x", "digest": f"sha256:{digest}", "size": len(config)}
    manifest.write_bytes(msgspec.json.encode({"schemaVersion": 2, "config": about, "layers": layers}))
    return path


@pytest.fixture(scope="module")
def split(model_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with our model in three files, as llama-gguf-split writes them."""
    path = tmp_path_factory.mktemp("split")
    reader = gguf.GGUFReader(Store(model_home).get("smollm2:135m").path)
    writer = gguf.GGUFWriter(path / "Tiny-Q8_0.gguf", arch="llama", split_max_tensors=100)
    copy_with_new_metadata(reader, writer, {}, [])
    assert len(list(path.iterdir())) == 3
    return path


@pytest.fixture(scope="module")
def hub(
    copied_models: Path, theirs: Path, split: Path, registry: str, tmp_path_factory: pytest.TempPathFactory
) -> Generator[HubProcess]:
    config = f"registry: {registry}\nollama_models: {theirs}\nmodels_dir: {split}\n"
    with running_hub(tmp_path_factory.mktemp("hub"), copied_models, config=config) as hub:
        yield hub


@pytest.fixture(scope="module")
def copied_models(model_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models that may be changed."""
    return Path(shutil.copytree(model_home, tmp_path_factory.mktemp("models") / "home"))


@pytest.fixture(scope="module")
def client(hub: HubProcess) -> Generator[ollama.Client]:
    with ollama.Client(host=hub.url) as client:
        yield client


USER = [{"role": "user", "content": "Say hello."}]
QUIET = {"num_predict": 4, "temperature": 0, "seed": 1}


def test_a_model_is_made_with_what_it_is_told_and_uses_it(client: ollama.Client):
    statuses = [
        step.status
        for step in client.create(
            model="kind",
            from_="smollm2:135m",
            system="You are kind.",
            parameters={**QUIET, "stop": ["\n"]},
            messages=[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}],
            stream=True,
        )
    ]
    assert statuses[-1] == "success"
    shown = client.show("kind")
    assert "num_predict" in (shown.parameters or "")
    plain = client.chat("smollm2:135m", messages=USER, options=QUIET)
    kind = client.chat("kind", messages=USER)
    assert (kind.eval_count or 99) <= 4
    assert (kind.prompt_eval_count or 0) > (plain.prompt_eval_count or 0)


def test_a_template_of_its_own_lays_the_prompt_out(client: ollama.Client):
    client.create(model="bare", from_="smollm2:135m", template="{{ .Prompt }}", parameters=QUIET)
    with_own = client.generate("smollm2:135m", "one two three", options=QUIET)
    bare = client.generate("bare", "one two three")
    raw = client.generate("smollm2:135m", "one two three", raw=True, options=QUIET)
    assert bare.prompt_eval_count == raw.prompt_eval_count
    assert (bare.prompt_eval_count or 0) < (with_own.prompt_eval_count or 0)


def test_a_copy_answers_and_can_be_deleted_without_its_original(client: ollama.Client):
    assert client.copy("smollm2:135m", "me/copied:1")["status"] == "success"
    client.delete("me/copied:1")
    with pytest.raises(ollama.ResponseError, match="not found"):
        client.show("me/copied:1")
    assert client.show("smollm2:135m").details


def test_a_file_is_sent_and_made_a_model_of(client: ollama.Client, theirs: Path):
    (file,) = [path for path in (theirs / "blobs").iterdir() if path.is_symlink()]
    digest = client.create_blob(file)
    client.create(model="sent", files={"sent.gguf": digest})
    assert client.generate("sent", "hi", options=QUIET).done


def test_a_model_goes_to_the_registry_and_comes_back(client: ollama.Client, registry: str):
    client.create(model="me/travels", from_="smollm2:135m", system="Far away.")
    statuses: list[Any] = [step.status for step in client.push("me/travels", stream=True)]
    assert statuses[-1] == "success"
    client.delete("me/travels")
    last = list(client.pull("me/travels", stream=True))[-1]
    assert last.status == "success"
    assert "Far away." in (client.show("me/travels").modelfile or "")
    tags = httpx.get(f"http://{registry}/v2/me/travels/tags/list").json()["tags"]
    assert tags == ["latest"]


def test_ollamas_own_directory_is_served_and_never_changed(client: ollama.Client, theirs: Path):
    before = {path: path.lstat().st_mtime_ns for path in theirs.rglob("*")}
    assert "theirs:latest" in {model.model for model in client.list().models}
    assert client.generate("theirs", "hi", options=QUIET).done
    with pytest.raises(ollama.ResponseError, match="only read here") as caught:
        client.delete("theirs")
    assert caught.value.status_code == 403
    assert {path: path.lstat().st_mtime_ns for path in theirs.rglob("*")} == before


def test_a_split_model_in_a_directory_of_files_is_served_as_one(client: ollama.Client):
    (model,) = [model for model in client.list().models if model.model == "tiny:q8_0"]
    assert model.details is not None
    assert model.details.parameter_size == "134.52M"
    assert client.generate("tiny", "hi", options=QUIET).done


def test_a_name_that_nobody_has_is_a_404_before_anything_is_sent(client: ollama.Client):
    with pytest.raises(ollama.ResponseError, match="there is no model") as caught:
        client.pull("nobody")
    assert caught.value.status_code == 404
