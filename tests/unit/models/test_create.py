from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf_files import TINY, gguf_bytes

from partage.errors import DiskFull, InvalidRequest, ModelFileError, ModelNotFound, NotFound, PullError, Unsupported
from partage.models import anatomy as facts
from partage.models import quantise, requantise
from partage.models.create import Recipe
from partage.models.gguf_dir import GgufDirectory
from partage.models.gguf_header import read_header
from partage.models.shelves import Shelves
from partage.models.store import About, Store
from partage.models.workshop import Workshop

CLIP = {key.replace("llama", "clip.vision"): value for key, value in TINY.items()} | {
    "general.architecture": ("str", "clip")
}
UNTEMPLATED = {key: value for key, value in TINY.items() if key != "tokenizer.chat_template"}
GO_LOOP = "{{ range .Messages }}{{ .Content }}{{ end }}"


@pytest.fixture
def shop(tmp_path: Path, tiny_gguf: Path) -> Workshop:
    store = Store(tmp_path / "home")
    store.add_file("base", tiny_gguf, about=About(system="Be kind.", parameters={"seed": 1, "stop": ["x"]}))
    return Workshop(Shelves(store, [GgufDirectory(tmp_path / "files")]))


async def made(shop: Workshop, recipe: Recipe, name: str = "new") -> list[str]:
    async with aclosing(shop.create(name, recipe)) as steps:
        return [step.status async for step in steps]


def sha256_of(path: str | Path) -> str:
    return f"sha256:{hashlib.sha256(Path(path).read_bytes()).hexdigest()}"


async def in_pieces(data: bytes) -> AsyncGenerator[bytes]:
    for start in range(0, len(data), 100):
        yield data[start : start + 100]


async def sent(shop: Workshop, data: bytes) -> str:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    await shop.receive_blob(digest, in_pieces(data), len(data))
    return digest


async def test_a_model_of_another_shares_its_file_and_keeps_what_is_not_changed(shop: Workshop):
    recipe = Recipe(base="base", parameters={"seed": 2}, licence="mit", messages=(("user", "hi"),))
    await made(shop, recipe)
    base, new = shop.shelves.get("base"), shop.shelves.get("new")
    assert (new.digest, new.path) == (base.digest, base.path)
    assert (new.system, new.licence, new.parameters) == ("Be kind.", "mit", {"seed": 2, "stop": ["x"]})
    assert [(message.role, message.content) for message in new.messages] == [("user", "hi")]
    assert len(list(shop.shelves.store.blobs.iterdir())) == 1


async def test_files_that_were_sent_become_a_model_with_its_projector(shop: Workshop):
    weights = await sent(shop, gguf_bytes(data_bytes=128))
    projector = await sent(shop, gguf_bytes(CLIP))
    assert shop.has_blob(weights)
    assert shop.has_blob(weights.replace(":", "-"))
    await made(shop, Recipe(digests=(projector, weights)))
    model = shop.shelves.get("new")
    assert model.digest == weights
    assert model.projector is not None
    assert shop.has_blob(weights)
    assert list(shop.shelves.store.partial.iterdir()) == []


async def test_what_was_not_sent_is_not_found(shop: Workshop):
    with pytest.raises(NotFound, match="POST /api/blobs/sha256:abab"):
        await made(shop, Recipe(digests=(f"sha256:{'ab' * 32}",)))


async def test_what_is_not_what_its_digest_says_is_discarded(shop: Workshop):
    digest = f"sha256:{'ab' * 32}"
    with pytest.raises(InvalidRequest, match="discarded"):
        await shop.receive_blob(digest, in_pieces(b"something else"), None)
    assert not shop.has_blob(digest)
    assert not list(shop.shelves.store.home.rglob(".new-*"))


async def test_a_file_larger_than_the_disk_is_refused_before_it_is_sent(shop: Workshop):
    with pytest.raises(DiskFull, match=r"file .* needed"):
        await shop.receive_blob(f"sha256:{'ab' * 32}", in_pieces(b"x"), 1 << 60)


@pytest.mark.parametrize(
    "digest", ["", "sha256:xyz", "sha256:../../etc/passwd", f"md5:{'ab' * 32}", f"sha256:{'ab' * 32}\n"]
)
def test_what_is_no_digest_is_refused(shop: Workshop, digest: str):
    with pytest.raises(InvalidRequest):
        shop.has_blob(digest)


async def test_a_file_of_this_machine_is_copied(shop: Workshop, tmp_path: Path):
    file = tmp_path / "mine.gguf"
    file.write_bytes(gguf_bytes(data_bytes=160))
    await made(shop, Recipe(paths=(file,), system="Hello."))
    assert file.exists()
    assert shop.shelves.get("new").system == "Hello."


async def test_a_model_in_somebody_elses_directory_is_copied(shop: Workshop, tmp_path: Path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "theirs.gguf").write_bytes(gguf_bytes(data_bytes=192))
    await shop.copy("theirs", "ours")
    ours = shop.shelves.store.get("ours")
    assert sha256_of(ours.path) == sha256_of(tmp_path / "files" / "theirs.gguf") == ours.digest


async def test_a_copy_is_a_second_name(shop: Workshop):
    await shop.copy("base", "me/second:1")
    assert shop.shelves.get("me/second:1").digest == shop.shelves.get("base").digest
    with pytest.raises(ModelNotFound):
        await shop.copy("nobody", "x")


async def test_a_base_that_is_nowhere_is_said_to_be(shop: Workshop):
    with pytest.raises(PullError, match="nobody is known to have 'nowhere:latest'"):
        await made(shop, Recipe(base="nowhere"))


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(base="base", paths=(Path("x"),))])
async def test_a_base_or_files_are_needed_and_not_both(shop: Workshop, recipe: Recipe):
    with pytest.raises(InvalidRequest, match="not both"):
        await made(shop, recipe)


async def test_two_files_of_weights_are_no_model(shop: Workshop):
    digests = (await sent(shop, gguf_bytes(data_bytes=128)), await sent(shop, gguf_bytes(data_bytes=256)))
    with pytest.raises(ModelFileError, match="2 files of weights"):
        await made(shop, Recipe(digests=digests))


async def test_a_template_goes_before_the_files_own(shop: Workshop):
    await made(shop, Recipe(base="base", template="USER: {{ .Prompt }} A:"))
    model = shop.shelves.get("new")
    assert model.template == "USER: {{ .Prompt }} A:"
    assert "USER: " in model.chat_template


async def test_a_template_that_cannot_be_used_is_shown_and_the_files_own_used(shop: Workshop):
    statuses = await made(shop, Recipe(base="base", template=GO_LOOP))
    model = shop.shelves.get("new")
    assert (model.template, model.chat_template) == (GO_LOOP, "")
    assert any("the model's own is used" in status for status in statuses)


async def test_a_template_that_cannot_be_used_is_refused_where_there_is_no_other(shop: Workshop):
    digest = await sent(shop, gguf_bytes(UNTEMPLATED))
    with pytest.raises(Unsupported, match="write it in Jinja"):
        await made(shop, Recipe(digests=(digest,), template=GO_LOOP))


def test_a_type_that_cannot_be_made_here_is_refused_with_those_that_can(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
):
    def nowhere(program: str) -> None:
        return None

    monkeypatch.setattr(quantise.shutil, "which", nowhere)
    anatomy = shop.shelves.get("base").anatomy
    assert quantise.check_type(anatomy, "q8_0") == "Q8_0"
    with pytest.raises(
        Unsupported, match=r"cannot quantise to 'q4_K_M'; possible here: .*Q8_0.* llama-quantize on the PATH"
    ):
        quantise.check_type(anatomy, "q4_K_M")
    assert frozenset(requantise._FILE_TYPES) == quantise.OWN


async def test_what_is_quantised_already_is_not_quantised_again(shop: Workshop):
    digest = await sent(shop, gguf_bytes({**TINY, "general.file_type": ("u32", 7)}))
    with pytest.raises(Unsupported, match="Q8_0 already"):
        await made(shop, Recipe(digests=(digest,), quantise="q4_0"))


@pytest.mark.parametrize("to", sorted(quantise.OWN))
def test_matrices_are_quantised_and_what_is_small_is_kept(tmp_path: Path, to: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(requantise, "_PIECE_WEIGHTS", 128)  # several pieces
    source, target = tmp_path / "f32.gguf", tmp_path / "out.gguf"
    writer = gguf.GGUFWriter(source, "llama")
    writer.add_block_count(1)
    writer.add_embedding_length(64)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    weights = np.random.default_rng(0).normal(size=(10, 64)).astype(np.float32)
    for name, data in {
        "token_embd.weight": weights,
        "blk.0.attn_q.weight": weights,
        "blk.0.ffn_gate_inp.weight": weights,
        "blk.0.attn_norm.weight": weights[0],
    }.items():
        writer.add_tensor(name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    requantise.quantise(source, target, to=to)
    assert facts.quantisation(facts.anatomy(read_header(target))) == to
    read = {tensor.name: tensor for tensor in gguf.GGUFReader(target).tensors}
    assert {name: tensor.tensor_type.name for name, tensor in read.items()} == {
        "token_embd.weight": to,
        "blk.0.attn_q.weight": to,
        "blk.0.ffn_gate_inp.weight": "F32",
        "blk.0.attn_norm.weight": "F32",
    }
    tensor = read["blk.0.attn_q.weight"]
    back = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(weights.shape)
    assert float(np.abs(back - weights).max()) < 0.35
