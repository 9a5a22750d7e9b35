from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import msgspec
import pytest
from gguf_files import TINY, gguf_bytes

from partage.errors import Forbidden, ModelFileError, ModelNotFound
from partage.models.facts import FactsCache, FileFacts
from partage.models.gguf_dir import GgufDirectory
from partage.models.names import Name
from partage.models.ollama_dir import OllamaDirectory
from partage.models.shelves import Shelves
from partage.models.store import Store

HOST = "registry.example.com"
CLIP = {key.replace("llama", "clip.vision"): value for key, value in TINY.items()} | {
    "general.architecture": ("str", "clip")
}
UNTEMPLATED = {key: value for key, value in TINY.items() if key != "tokenizer.chat_template"}


class Ollama:
    """Writes the directory as Ollama does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "blobs").mkdir(parents=True)

    def add(self, name: str, *layers: tuple[str, bytes], host: str = HOST) -> Path:
        def entry(kind: str, data: bytes) -> dict[str, object]:
            hex_ = hashlib.sha256(data).hexdigest()
            (self.path / "blobs" / f"sha256-{hex_}").write_bytes(data)
            return {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": f"sha256:{hex_}", "size": len(data)}

        manifest = {"schemaVersion": 2, "config": entry("config", b"{}"), "layers": [entry(*layer) for layer in layers]}
        path = self.path / "manifests" / host / name.replace(":", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.encode(manifest))
        return path

    def everything(self) -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in self.path.rglob("*")}


@pytest.fixture
def ollama(tmp_path: Path) -> Ollama:
    return Ollama(tmp_path / "ollama")


@pytest.fixture
def shelves(tmp_path: Path, ollama: Ollama) -> Shelves:
    files = tmp_path / "files"
    files.mkdir()
    return Shelves(Store(tmp_path / "home"), [OllamaDirectory(ollama.path), GgufDirectory(files)])


def test_ollamas_models_are_used_where_they_lie(shelves: Shelves, ollama: Ollama):
    ollama.add(
        "library/tiny:latest",
        ("model", gguf_bytes(UNTEMPLATED)),
        ("template", b"{{ .System }} USER: {{ .Prompt }} A: "),
        ("system", b"Be brief."),
        ("params", b'{"temperature": 0.25}'),
    )
    ollama.add("me/other:1", ("model", gguf_bytes()), ("projector", gguf_bytes(CLIP)))
    ollama.add("user/repo:Q4_K_M", ("model", gguf_bytes()), host="hub.example.com")
    before = ollama.everything()
    assert [model.name for model in shelves.list()] == ["hub.example.com/user/repo:Q4_K_M", "me/other:1", "tiny:latest"]
    model = shelves.get("tiny")
    assert (model.system, model.parameters) == ("Be brief.", {"temperature": 0.25})
    assert "USER: " in model.chat_template
    assert Path(model.path).parent == ollama.path / "blobs"
    assert shelves.get("me/other:1").projector is not None
    assert shelves.get(f"{HOST}/library/tiny:latest").digest == model.digest
    assert ollama.everything() == before


def test_what_is_only_read_is_never_removed(shelves: Shelves, ollama: Ollama):
    ollama.add("library/tiny:latest", ("model", gguf_bytes()))
    before = ollama.everything()
    with pytest.raises(Forbidden, match=r"lies in the Ollama directory .* only read here"):
        shelves.remove("tiny")
    with pytest.raises(ModelNotFound):
        shelves.remove("nobody")
    assert ollama.everything() == before


def test_our_own_model_goes_before_one_of_the_same_name(shelves: Shelves, ollama: Ollama, tiny_gguf: Path):
    ollama.add("library/tiny:latest", ("model", gguf_bytes(UNTEMPLATED)))
    mine = shelves.store.add_file("tiny", tiny_gguf)
    assert shelves.get("tiny") == mine
    assert shelves.list() == [mine]
    shelves.remove("tiny")
    assert shelves.get("tiny").digest != mine.digest


def test_what_ollama_changes_is_seen(shelves: Shelves, ollama: Ollama):
    path = ollama.add("library/tiny:latest", ("model", gguf_bytes()))
    before = shelves.get("tiny")
    ollama.add("library/tiny:latest", ("model", gguf_bytes(UNTEMPLATED)))
    path.touch()
    assert shelves.get("tiny").digest != before.digest
    path.unlink()
    with pytest.raises(ModelNotFound):
        shelves.get("tiny")


def test_broken_models_are_left_out_and_said_once(shelves: Shelves, ollama: Ollama, caplog: pytest.LogCaptureFixture):
    ollama.add("library/adapted:latest", ("model", gguf_bytes()), ("adapter", b"lora"))
    gone = ollama.add("library/gone:latest", ("model", gguf_bytes()))
    gone.write_bytes(gone.read_bytes().replace(b'"size":', b'"size":1'))
    (ollama.path / "manifests" / HOST / "library" / "junk").mkdir()
    (ollama.path / "manifests" / HOST / "library" / "junk" / "latest").write_text("junk")
    with caplog.at_level(logging.WARNING):
        assert shelves.list() == []
        assert shelves.list() == []
    assert len(caplog.records) == 3
    with pytest.raises(ModelFileError):
        shelves.get("gone")


def test_a_directory_that_is_not_there_is_empty(tmp_path: Path):
    nothing = Shelves(Store(tmp_path), [OllamaDirectory(tmp_path / "a"), GgufDirectory(tmp_path / "b")])
    assert nothing.list() == []
    with pytest.raises(ModelNotFound):
        nothing.get("x")


def split_gguf(folder: Path, stem: str) -> None:
    split = {"split.count": ("u32", 2), "split.no": ("u32", 0)}
    (folder / f"{stem}-00001-of-00002.gguf").write_bytes(gguf_bytes({**TINY, **split}))
    rest = gguf_bytes({"split.count": ("u32", 2), "split.no": ("u32", 1)}, [("output.weight", (8, 3), 0, 0)])
    (folder / f"{stem}-00002-of-00002.gguf").write_bytes(rest)


def test_files_are_called_by_their_names(shelves: Shelves, tmp_path: Path):
    files = tmp_path / "files"
    (files / "user" / "repo").mkdir(parents=True)
    (files / "Llama-3.2-3B-Instruct-Q4_K_M.gguf").write_bytes(gguf_bytes())
    (files / "user" / "repo" / "two words.IQ2_XS.gguf").write_bytes(gguf_bytes())
    (files / "plain.gguf").write_bytes(gguf_bytes())
    names = [model.name for model in shelves.list()]
    assert names == ["llama-3.2-3b-instruct:q4_k_m", "plain:latest", "two-words:iq2_xs"]
    assert shelves.get("Llama-3.2-3B-Instruct:Q4_K_M").name == "llama-3.2-3b-instruct:q4_k_m"
    with pytest.raises(Forbidden, match="the directory"):
        shelves.remove("plain")


def test_the_only_variant_is_the_latest_too_and_of_two_neither(shelves: Shelves, tmp_path: Path):
    (tmp_path / "files" / "m-Q8_0.gguf").write_bytes(gguf_bytes())
    assert shelves.get("m").name == "m:q8_0"
    (tmp_path / "files" / "m-Q4_0.gguf").write_bytes(gguf_bytes())
    with pytest.raises(ModelNotFound):
        shelves.get("m")


def test_a_split_model_is_one_with_the_tensors_of_all_its_files(shelves: Shelves, tmp_path: Path):
    split_gguf(tmp_path / "files", "big-Q8_0")
    (model,) = shelves.list()
    assert model.name == "big:q8_0"
    assert model.path.endswith("big-Q8_0-00001-of-00002.gguf")
    assert [tensor.name for tensor in model.anatomy.tensors] == ["token_embd.weight", "output.weight"]
    assert model.size_bytes == sum(path.stat().st_size for path in (tmp_path / "files").iterdir())


def test_a_split_model_with_a_part_missing_is_left_out(
    shelves: Shelves, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    split_gguf(tmp_path / "files", "big")
    (tmp_path / "files" / "big-00002-of-00002.gguf").unlink()
    assert shelves.list() == []
    assert "of which [2] are missing" in caplog.text


def test_a_part_of_a_split_model_never_enters_the_store(shelves: Shelves, tmp_path: Path):
    split_gguf(tmp_path / "files", "big")
    with pytest.raises(ModelFileError, match="one of 2 parts"):
        shelves.store.add_file("big", tmp_path / "files" / "big-00001-of-00002.gguf")


def test_a_projector_goes_with_the_model_of_its_name_or_with_the_only_one(shelves: Shelves, tmp_path: Path):
    files = tmp_path / "files"
    (files / "alone").mkdir()
    for path in (files / "seer-Q4_0.gguf", files / "blind-Q4_0.gguf", files / "alone" / "pixtral-Q4_0.gguf"):
        path.write_bytes(gguf_bytes())
    for path in (files / "mmproj-seer-f16.gguf", files / "alone" / "mmproj-model-f16.gguf"):
        path.write_bytes(gguf_bytes(CLIP))
    seeing = {model.name for model in shelves.list() if model.projector_path}
    assert seeing == {"seer:q4_0", "pixtral:q4_0"}


def test_a_file_that_goes_while_it_is_looked_at_is_an_error_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def read_and_lose(cache: FactsCache, path: Path) -> FileFacts:
        facts = read(cache, path)
        path.unlink()
        return facts

    read = FactsCache.read
    monkeypatch.setattr(FactsCache, "read", read_and_lose)
    (tmp_path / "a.gguf").write_bytes(gguf_bytes(TINY))
    with pytest.raises(ModelFileError, match="No such file"):
        GgufDirectory(tmp_path).find(Name("a"))
    (tmp_path / "a.gguf").write_bytes(gguf_bytes(TINY))
    assert GgufDirectory(tmp_path).list() == []
