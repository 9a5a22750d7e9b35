from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_bert

from partage.errors import ModelFileError
from partage.models import anatomy as facts
from partage.models.convert_bert import convert_bert
from partage.models.gguf_header import LongArray, read_array, read_header
from partage.models.requantise import requantise


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_bert.write(tmp_path / "bert")
    return tmp_path / "bert"


def stored(path: Path, name: str) -> bytes:
    header = read_header(path)
    index = [tensor.name for tensor in header.tensors].index(name)
    start = header.positions[index]
    return path.read_bytes()[start : start + header.tensors[index].size_bytes]


def test_f16_holds_every_matrix_as_it_rounds_and_the_rest_exactly(folder: Path, tmp_path: Path):
    target = tmp_path / "out.gguf"
    convert_bert(folder, target, to="F16", name="tiny")
    tensors = tiny_bert.tensors()
    assert len(read_header(target).tensors) == len(tensors)
    query = tensors["encoder.layer.1.attention.self.query.weight"]
    assert stored(target, "blk.1.attn_q.weight") == query.astype("<f2").tobytes()
    for source, name in (
        ("embeddings.position_embeddings.weight", "position_embd.weight"),
        ("embeddings.LayerNorm.bias", "token_embd_norm.bias"),
        ("encoder.layer.0.output.dense.bias", "blk.0.ffn_down.bias"),
    ):
        assert stored(target, name) == tensors[source].tobytes()


def test_the_header_says_what_llama_cpp_needs(folder: Path, tmp_path: Path):
    target = tmp_path / "out.gguf"
    convert_bert(folder, target, to="Q8_0", name="tiny")
    header = read_header(target)
    anatomy = facts.anatomy(header)
    assert (anatomy.architecture, anatomy.layers, anatomy.causal) == ("bert", tiny_bert.LAYERS, False)
    assert anatomy.context_train_tokens == tiny_bert.POSITIONS
    assert facts.quantisation(anatomy) == "Q8_0"
    assert {tensor.type for tensor in anatomy.tensors} == {"F32", "Q8_0"}
    assert facts.capabilities(anatomy, "", projector=False) == {"embedding"}
    tokens = header.metadata["tokenizer.ggml.tokens"]
    assert isinstance(tokens, LongArray)
    assert read_array(target, tokens)[4:] == ["[MASK]", "▁run", "ing", "▁ö"]
    assert header.metadata["tokenizer.ggml.bos_token_id"] == 2


@pytest.mark.parametrize(
    ("file", "changes", "wrong"),
    [
        ("config.json", {"model_type": "t5"}, "'t5' is not supported"),
        ("config.json", {"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ("config.json", {"num_hidden_layers": 3}, "'encoder.layer.2"),
        ("config.json", {"hidden_size": 16}, "another shape"),
        ("config.json", {"vocab_size": 9}, "not numbered from 0 to 8"),
        ("tokenizer.json", {"model": {"vocab": {str(number): number for number in range(8)}}}, "lacks \\[PAD\\]"),
        ("tokenizer.json", {"model": 1}, "tokenizer.json"),
    ],
)
def test_files_that_do_not_fit_together_are_refused(
    folder: Path, tmp_path: Path, file: str, changes: dict[str, object], wrong: str
):
    path = folder / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(ModelFileError, match=wrong):
        convert_bert(folder, tmp_path / "out.gguf", to="F16", name="tiny")


def test_requantising_changes_the_weights_of_one_type_and_no_other_byte_of_the_header(folder: Path, tmp_path: Path):
    half, eighth = tmp_path / "half.gguf", tmp_path / "eighth.gguf"
    convert_bert(folder, half, to="F16", name="tiny")
    requantise(half, eighth, from_="F16", to="Q8_0")
    before, after = read_header(half), read_header(eighth)
    assert after.metadata == {**before.metadata, "general.file_type": 7}
    assert after.table_position == before.table_position
    for old, new in zip(before.tensors, after.tensors, strict=True):
        assert (new.name, new.shape) == (old.name, old.shape)
        if old.type == "F16":
            assert new.type == "Q8_0"
            blocks = np.frombuffer(stored(eighth, new.name), np.dtype([("scale", "<f2"), ("weights", "i1", 32)]))
            weights = blocks["scale"].astype(np.float32)[:, None] * blocks["weights"]
            original = np.frombuffer(stored(half, old.name), "<f2").astype(np.float32)
            assert np.abs(weights.ravel() - original).max() <= np.abs(original).max() / 200
        else:
            assert stored(eighth, new.name) == stored(half, old.name)


def test_requantising_a_file_without_that_type_is_refused(tiny_gguf: Path, tmp_path: Path):
    with pytest.raises(ModelFileError, match="no tensor has the type Q4_1"):
        requantise(tiny_gguf, tmp_path / "out.gguf", from_="Q4_1", to="Q8_0")
