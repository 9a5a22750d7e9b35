from __future__ import annotations

import errno
import logging
import os
import shutil
from pathlib import Path

import pytest
from gguf_files import TINY, gguf_bytes

from partage.errors import InvalidRequest, ModelFileError, ModelNotFound, StoreError
from partage.models.store import About, Manifest, Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


def test_an_empty_store_has_no_models(store: Store):
    assert store.list() == []
    assert not store.exists("a")
    with pytest.raises(ModelNotFound, match="partage pull a:latest"):
        store.get("a")


def test_a_file_becomes_a_model(store: Store, tiny_gguf: Path):
    about = About(source="here", system="Be brief.", parameters={"stop": ["x"], "seed": 1})
    model = store.add_file("mine", tiny_gguf, about=about)
    assert model.name == "mine:latest"
    assert model.digest.startswith("sha256:")
    assert Path(model.path).read_bytes() == tiny_gguf.read_bytes()
    assert model.size_bytes == tiny_gguf.stat().st_size
    assert model.anatomy.layers == 2
    assert model.licence == "apache-2.0"
    assert model.template == "{{ messages }} {{ tools }}"
    assert model.modified_at.endswith("Z")
    assert (model.source, model.system, model.parameters) == ("here", "Be brief.", {"stop": ["x"], "seed": 1})
    assert [model] == store.list()
    assert Store(store.home).get("mine:latest") == model


def test_a_model_that_is_asked_for_again_is_read_again_once_its_files_changed(store: Store, tiny_gguf: Path):
    store.add_file("mine", tiny_gguf)
    assert store.get("mine") is store.get("mine")
    store.add_file("mine", tiny_gguf, about=About(system="Be brief."))
    assert store.get("mine").system == "Be brief."
    weights = Path(store.get("mine").path)
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ModelFileError):
        store.get("mine")
    store.remove("mine")
    with pytest.raises(ModelNotFound):
        store.get("mine")


def test_moving_leaves_no_second_copy(store: Store, tiny_gguf: Path):
    store.add_file("mine", tiny_gguf, move=True)
    assert not tiny_gguf.exists()
    assert store.exists("mine")


def test_a_vision_projector_is_kept_beside_the_weights(store: Store, tiny_gguf: Path, tmp_path: Path):
    clip = {key.replace("llama", "clip.vision"): value for key, value in TINY.items()}
    projector = tmp_path / "mmproj.gguf"
    projector.write_bytes(gguf_bytes({**clip, "general.architecture": ("str", "clip")}))
    model = store.add_file("seeing", tiny_gguf, projector=projector)
    assert model.projector is not None
    assert model.projector.architecture == "clip"
    assert "vision" in model.capabilities
    store.remove("seeing")
    assert list(store.blobs.iterdir()) == []


def test_a_file_that_is_no_model_is_refused_and_leaves_nothing(store: Store, tmp_path: Path):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(10))
    with pytest.raises(ModelFileError, match=r"broken\.gguf"):
        store.add_file("mine", broken)
    assert store.list() == []


@pytest.mark.parametrize("name", ["../x", "a/../../b", "", "x\x00"])
def test_no_name_leads_out_of_the_store(store: Store, tiny_gguf: Path, name: str):
    with pytest.raises(InvalidRequest):
        store.add_file(name, tiny_gguf)
    with pytest.raises(InvalidRequest):
        store.remove(name)


def test_removing_keeps_what_another_name_shares(store: Store, tiny_gguf: Path):
    store.add_file("one", tiny_gguf)
    store.link("two", "one")
    store.remove("one")
    assert [model.name for model in store.list()] == ["two:latest"]
    assert Path(store.get("two").path).exists()
    store.remove("two")
    assert list(store.blobs.iterdir()) == []
    with pytest.raises(ModelNotFound):
        store.remove("two")


def test_any_name_of_a_catalog_entry_finds_the_model(store: Store, tiny_gguf: Path):
    store.add_file("all-minilm:22m", tiny_gguf)
    assert store.get("all-minilm").name == "all-minilm:22m"
    assert not store.exists("all-minilm:22m-l6-v2-fp16")
    store.remove("all-minilm")
    assert store.list() == []


def _break_manifest(store: Store) -> None:
    (store.manifests / "_/library/bad/latest.json").write_text("{")


def _foreign_digest(store: Store) -> None:
    path = store.manifests / "_/library/bad/latest.json"
    path.write_text(path.read_text().replace("sha256:", "../../etc/"))


def _copy_of_another(store: Store) -> None:
    shutil.copy(store.manifests / "_/library/good/latest.json", store.manifests / "_/library/bad/latest.json")


def _lose_blob(store: Store) -> None:
    Path(store.get("bad").path).unlink()


def _cut_blob(store: Store) -> None:
    os.truncate(store.get("bad").path, 50)


@pytest.mark.parametrize("harm", [_break_manifest, _foreign_digest, _copy_of_another, _lose_blob, _cut_blob])
def test_a_broken_model_is_left_out_with_a_warning_naming_the_file(
    store: Store, tiny_gguf: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, harm: object
):
    good = tmp_path / "good.gguf"
    good.write_bytes(gguf_bytes({**TINY, "general.name": ("str", "another")}))
    store.add_file("good", good)
    store.add_file("bad", tiny_gguf)
    assert callable(harm)
    harm(store)
    with caplog.at_level(logging.WARNING):
        assert [model.name for model in store.list()] == ["good:latest"]
    assert "model left out" in caplog.text
    with pytest.raises(ModelFileError):
        store.get("bad")
    store.remove("bad")
    assert [model.name for model in store.list()] == ["good:latest"]


def test_with_a_broken_manifest_about_no_blob_is_dropped(store: Store, tiny_gguf: Path):
    store.add_file("one", tiny_gguf)
    store.link("bad", "one")
    _break_manifest(store)
    store.remove("one")
    assert len(list(store.blobs.iterdir())) == 1


def test_a_header_is_read_once(store: Store, tiny_gguf: Path):
    first = store.add_file("one", tiny_gguf).anatomy
    assert store.get("one").anatomy is first
    os.utime(store.get("one").path, (1, 1))
    assert store.get("one").anatomy is not first


def test_an_unreadable_model_directory_is_named(store: Store, tiny_gguf: Path):
    store.add_file("one", tiny_gguf)
    shutil.rmtree(store.manifests)
    store.manifests.write_text("a file where the folder should be")
    with pytest.raises(StoreError, match=r"home/models cannot be read: Not a directory"):
        store.list()


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path, tiny_gguf: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        Store(tmp_path / "file" / "home").add_file("one", tiny_gguf)
    with pytest.raises(StoreError, match="file/models cannot be read"):
        Store(tmp_path / "file").list()


def test_half_written_files_are_no_models(store: Store, tiny_gguf: Path):
    store.add_file("one", tiny_gguf)
    (store.manifests / "_/library/one/.new-x1y2").write_text("{}")
    (store.blobs / ".new-abc").write_bytes(b"GG")
    assert [model.name for model in store.list()] == ["one:latest"]


class Vanishing(Store):
    """Another process removes the model just after its manifest was read."""

    def _read(self, path: Path) -> Manifest:
        manifest = super()._read(path)
        path.unlink()
        return manifest


def test_a_model_that_is_removed_while_it_is_looked_at_is_an_error_of_ours(store: Store, tiny_gguf: Path):
    store.add_file("mine", tiny_gguf)
    with pytest.raises(StoreError, match="No such file"):
        Vanishing(store.home).get("mine")
    store.add_file("mine", tiny_gguf)
    assert Vanishing(store.home).list() == []


def test_a_disk_that_fails_is_an_error_of_ours(store: Store, tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch):
    def fails(path: Path) -> bool:
        raise OSError(errno.EIO, "Input/output error", str(path))

    store.add_file("mine", tiny_gguf)
    monkeypatch.setattr(Path, "is_file", fails)
    with pytest.raises(StoreError, match="Input/output error"):
        Store(store.home).get("mine")
