from __future__ import annotations

from pathlib import Path

import pytest

from partage.errors import InvalidRequest, Unsupported
from partage.models.create import recipe_of
from partage.models.modelfile import parse

WHOLE = '''# a comment
FROM llama3.2
PARAMETER temperature 0.7
parameter num_ctx 8192
PARAMETER stop "<|end|>"
PARAMETER stop User:
PARAMETER use_mmap false
SYSTEM """You are kind.
Always."""
TEMPLATE """{{ .Prompt }}"""
LICENSE MIT
LICENSE "and more"
MESSAGE user Is it day?
MESSAGE assistant "yes"
RENDERER x
'''


def test_every_command_is_read():
    read = parse(WHOLE)
    assert read.bases == ("llama3.2",)
    assert read.parameters == {
        "temperature": 0.7,
        "num_ctx": 8192,
        "stop": ["<|end|>", "User:"],
        "use_mmap": False,
    }
    assert (read.system, read.template, read.licence) == ("You are kind.\nAlways.", "{{ .Prompt }}", "MIT\n\nand more")
    assert read.messages == (("user", "Is it day?"), ("assistant", "yes"))


def test_what_is_not_said_is_left_to_the_base():
    read = parse("FROM x")
    assert (read.system, read.template, read.licence, read.messages, read.parameters) == (None, None, None, None, {})


def test_what_show_prints_can_be_read_again():
    read = parse('FROM /x.gguf\nPARAMETER stop "a b"\nSYSTEM """one\n\n# two"""\n')
    assert (read.parameters, read.system) == ({"stop": ["a b"]}, "one\n\n# two")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no FROM"),
        ("SYSTEM x", "no FROM"),
        ("FROM a\nFROM b\nFROM c", "more than two"),
        ("FROM x\nPARAMETER temperature hot", "line 2: temperature cannot be 'hot'"),
        ("FROM x\nPARAMETER temperature nan", "line 2: temperature cannot be 'nan'"),
        ("FROM x\nPARAMETER top_p 1e999", "line 2: top_p cannot be '1e999'"),
        ("FROM x\nPARAMETER heat 1", "line 2: 'heat' is no parameter"),
        ("FROM x\nMESSAGE robot hi", "line 2: MESSAGE needs"),
        ("FROM x\nCOPY a b", "line 2: 'COPY' is none of FROM"),
        ("FROM x\n\nnonsense", "line 3: 'nonsense' is not a command"),
        ('FROM x\nSYSTEM """never\nends', "line 2: the text that begins"),
        ("x" * (5 << 20), "too long"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, problem: str):
    with pytest.raises(InvalidRequest, match=problem):
        parse(text)


def test_an_adapter_is_refused():
    with pytest.raises(Unsupported, match="ADAPTER"):
        parse("FROM x\nADAPTER lora.gguf")


def test_from_is_a_model_a_file_or_a_blob(tmp_path: Path):
    (tmp_path / "x.gguf").touch()
    digest = f"sha256:{'ab' * 32}"
    assert recipe_of(parse("FROM llama3.2"), tmp_path).base == "llama3.2"
    assert recipe_of(parse("FROM ./x.gguf"), tmp_path).paths == (tmp_path / "./x.gguf",)
    assert recipe_of(parse(f"FROM @{digest}"), None).digests == (digest,)
    with pytest.raises(InvalidRequest, match="no such file"):
        recipe_of(parse("FROM ./y.gguf"), tmp_path)


def test_without_a_folder_no_file_of_this_machine_is_read():
    for base in ("/etc/x.gguf", "./x.gguf", "../x", "~/x", "x.gguf"):
        with pytest.raises(InvalidRequest, match="POST /api/blobs/DIGEST"):
            recipe_of(parse(f"FROM {base}"), None)
