from __future__ import annotations

from pathlib import Path

import pytest
from gguf_files import TINY, gguf_bytes

from partage.domain import Capability
from partage.errors import ModelFileError
from partage.models import anatomy as facts
from partage.models.gguf_header import read_header


def header_with(tmp_path: Path, **changes: tuple[str, object] | None):
    metadata = {**TINY, **{key.replace("__", "."): value for key, value in changes.items()}}
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf_bytes({key: value for key, value in metadata.items() if value is not None}))
    return read_header(path)


def test_scalars_become_one_value_per_layer_and_arrays_are_kept(tmp_path: Path):
    anatomy = facts.anatomy(header_with(tmp_path))
    assert anatomy.layers == 2
    assert anatomy.heads == (2, 2)
    assert anatomy.heads_kv == (1, 2)
    assert anatomy.feed_forward_length == (16, 16)
    assert (anatomy.key_length, anatomy.value_length) == (4, 4)
    assert (anatomy.context_train_tokens, anatomy.vocab_tokens, anatomy.causal) == (512, 3, True)
    assert anatomy.weights_bytes == 96
    assert "tokenizer.ggml.tokens" not in anatomy.metadata


def test_without_kv_heads_there_are_as_many_as_heads(tmp_path: Path):
    header = header_with(tmp_path, **{"llama.attention.head_count_kv": None})
    assert facts.anatomy(header).heads_kv == (2, 2)


def test_explicit_head_widths_win(tmp_path: Path):
    header = header_with(tmp_path, **{"llama.attention.key_length": ("u32", 128)})
    assert facts.anatomy(header).key_length == 128


@pytest.mark.parametrize(
    ("key", "value", "wrong"),
    [
        ("general.architecture", None, "does not say the architecture"),
        ("llama.block_count", None, "lacks llama.block_count"),
        ("llama.block_count", ("u32", 1_000_000_000), "block_count is 1000000000"),
        ("llama.block_count", ("str", "two"), "'two'; a whole number"),
        ("llama.attention.head_count_kv", ("[u32]", [1, 2, 3]), "3 values for 2 layers"),
        ("llama.embedding_length", ("i32", -1), "embedding_length is -1"),
    ],
)
def test_what_every_model_has_must_be_there_and_sane(
    key: str, value: tuple[str, object] | None, wrong: str, tmp_path: Path
):
    with pytest.raises(ModelFileError, match=wrong):
        facts.anatomy(header_with(tmp_path, **{key: value}))


def test_a_pooling_type_marks_an_embedding_model(tmp_path: Path):
    anatomy = facts.anatomy(header_with(tmp_path, **{"llama.pooling_type": ("u32", 1)}))
    assert facts.capabilities(anatomy, "", projector=False) == {Capability.EMBEDDING}


def test_capabilities_come_from_template_projector_and_tokens(tmp_path: Path):
    fim = {f"tokenizer.ggml.fim_{part}_token_id": ("u32", 1) for part in ("pre", "suf", "mid")}
    header = header_with(tmp_path, **fim)
    found = facts.capabilities(facts.anatomy(header), "{{ tools }} <think>", projector=True)
    assert found == set(Capability) - {Capability.EMBEDDING}
    plain = facts.anatomy(header_with(tmp_path))
    assert facts.capabilities(plain, "", projector=False) == {Capability.COMPLETION}


def test_sizes_and_types_are_named_as_people_know_them(tmp_path: Path):
    anatomy = facts.anatomy(header_with(tmp_path))
    assert facts.parameter_count(anatomy) == 24
    assert facts.parameter_size(anatomy) == "24"
    assert facts.quantisation(anatomy) == "F32"
    unknown = facts.anatomy(header_with(tmp_path, **{"general.file_type": ("u32", 999)}))
    assert facts.quantisation(unknown) == "F32"
