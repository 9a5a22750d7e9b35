from __future__ import annotations

import pytest

from partage.errors import NotFound, Unsupported
from partage.models.hugging_face import HubFile, choose, is_on_the_hub
from partage.models.names import parse


def files(*paths: str) -> list[HubFile]:
    return [HubFile(path=path, size_bytes=10, sha256="ab" * 32) for path in paths]


MANY = files(
    "m-Q8_0.gguf", "m-Q4_K_M.gguf", "m.IQ2_XS.gguf", "m-fp16.gguf", "mmproj-m-F32.gguf", "mmproj-m-f16.gguf",
    "big/m-BF16-00001-of-00002.gguf", "big/m-BF16-00002-of-00002.gguf",
)  # fmt: skip


@pytest.mark.parametrize(
    ("tag", "path"),
    [
        ("latest", "m-Q4_K_M.gguf"),
        ("Q8_0", "m-Q8_0.gguf"),
        ("q8_0", "m-Q8_0.gguf"),
        ("IQ2_XS", "m.IQ2_XS.gguf"),
        ("F16", "m-fp16.gguf"),
        ("m-q8_0", "m-Q8_0.gguf"),
    ],
)
def test_the_tag_names_the_quantisation_and_without_one_the_usual_is_taken(tag: str, path: str):
    choice = choose(MANY, tag, "hf.co/u/m")
    assert choice.weights.path == path
    assert choice.projector is not None
    assert choice.projector.path == "mmproj-m-f16.gguf"


def test_the_next_best_is_taken_where_the_usual_is_not_there():
    assert choose(files("m-Q8_0.gguf", "m-Q5_K_M.gguf"), "latest", "m").weights.path == "m-Q5_K_M.gguf"
    assert choose(files("odd-name.gguf"), "latest", "m").weights.path == "odd-name.gguf"


def test_what_is_not_there_is_answered_with_what_is():
    with pytest.raises(NotFound, match="there are: F16, IQ2_XS, Q4_K_M, Q8_0"):
        choose(MANY, "Q2_K", "hf.co/u/m")
    with pytest.raises(NotFound, match="no GGUF weights"):
        choose(files("mmproj-m-f16.gguf"), "latest", "hf.co/u/m")


def test_a_split_model_is_refused_with_what_to_do():
    with pytest.raises(Unsupported, match="models_dir"):
        choose(MANY, "BF16", "hf.co/u/m")
    with pytest.raises(Unsupported, match="split over several files"):
        choose(files("m-Q4_K_M-00001-of-00002.gguf", "m-Q4_K_M-00002-of-00002.gguf"), "latest", "hf.co/u/m")


def test_only_names_with_its_host_are_the_hubs():
    assert is_on_the_hub(parse("hf.co/user/repo:Q4_K_M"))
    assert not is_on_the_hub(parse("user/repo"))
    assert not is_on_the_hub(parse("registry.example.com/user/repo"))
