from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from partage.cli import library
from partage.cli.models import register
from partage.hub.load_times import LOAD_TIMES, LoadTimes
from partage.models.store import About, Store

app = typer.Typer()
register(app)
library.register(app)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "home")
    writer = gguf.GGUFWriter(tmp_path / "tiny.gguf", "llama")
    writer.add_license("apache-2.0")
    writer.add_block_count(2)
    writer.add_context_length(512)
    writer.add_embedding_length(8)
    writer.add_feed_forward_length(16)
    writer.add_head_count(2)
    writer.add_head_count_kv([1, 2])
    writer.add_token_list(["a", "b", "c"])
    writer.add_chat_template("{{ messages }}")
    writer.add_tensor("token_embd.weight", np.zeros((3, 8), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    store.add_file("tiny", tmp_path / "tiny.gguf", about=About(source="here"))
    return store


def run(store: Store, *arguments: str):
    return CliRunner().invoke(app, [*arguments, "--home", str(store.home)])


def test_ls_prints_a_table_for_people_and_json_for_programs(store: Store):
    table = run(store, "ls").stdout
    assert table.splitlines()[0].split() == ["NAME", "SIZE", "TYPE", "PARAMETERS", "CAN", "MODIFIED"]
    assert "tiny:latest" in table
    (model,) = json.loads(run(store, "ls", "--json").stdout)
    assert (model["name"], model["parameters"], model["quantisation"]) == ("tiny:latest", 24, "F32")


def test_an_empty_ls_says_what_to_do_next(tmp_path: Path):
    result = run(Store(tmp_path / "empty"), "ls")
    assert result.exit_code == 0
    assert "partage pull" in result.stdout
    assert json.loads(run(Store(tmp_path / "empty"), "ls", "--json").stdout) == []


def test_show_tells_anatomy_origin_licence_and_template(store: Store):
    text = run(store, "show", "tiny").stdout
    for piece in ("llama", "512 tokens", "apache-2.0", "here", "{{ messages }}", "2 (1-2 for keys and values), 4 wide"):
        assert piece in text
    shown = json.loads(run(store, "show", "tiny", "--json", "--verbose").stdout)
    assert shown["heads_kv"] == [1, 2]
    assert shown["arrays"] == {"tokenizer.ggml.tokens": ["a", "b", "c"]}


def test_rm_removes(store: Store):
    assert run(store, "rm", "tiny").exit_code == 0
    assert store.list() == []


@pytest.mark.parametrize("command", [("show", "gone"), ("rm", "gone"), ("pull", "gone"), ("pull", "../gone")])
def test_our_errors_end_with_status_1_and_a_message_and_no_traceback(store: Store, command: tuple[str, ...]):
    result = run(store, *command)
    assert result.exit_code == 1
    assert result.stderr.startswith("partage: ")
    assert "gone" in result.stderr
    assert "Traceback" not in result.output


def test_wrong_usage_ends_with_status_2(store: Store):
    assert run(store, "pull").exit_code == 2
    assert run(store, "ls", "--nonsense").exit_code == 2


def test_create_makes_a_model_of_a_modelfile_and_cp_gives_it_a_second_name(store: Store, tmp_path: Path):
    file = tmp_path / "Modelfile"
    file.write_text("FROM ./tiny.gguf\nSYSTEM Be kind.\nPARAMETER seed 7\n")
    created = run(store, "create", "kind", "-f", str(file))
    assert (created.exit_code, created.stdout.splitlines()[-1]) == (0, "kind is ready")
    assert run(store, "cp", "kind", "me/second:1").stdout == "copied kind to me/second:1\n"
    model = store.get("me/second:1")
    assert (model.system, model.parameters) == ("Be kind.", {"seed": 7})


def test_create_from_a_model_needs_no_modelfile(store: Store):
    assert run(store, "create", "same", "--from", "tiny").exit_code == 0
    assert store.get("same").digest == store.get("tiny").digest
    both = run(store, "create", "x", "--from", "tiny", "-f", "Modelfile")
    assert (both.exit_code, both.stderr) == (1, "partage: give --from or --file, not both\n")


def test_a_name_without_a_registry_is_told_how_to_get_one(store: Store):
    result = run(store, "pull", "llama3.2")
    assert result.exit_code == 1
    assert "PARTAGE_REGISTRY=HOST" in result.stderr
    assert "HOST/library/llama3.2:latest" in result.stderr


def test_show_tells_what_loads_took_here_and_where_the_weights_are(store: Store):
    assert "not measured yet" in run(store, "show", "tiny").stdout
    digest = store.get("tiny").digest
    LoadTimes(store.home / LOAD_TIMES).learn(digest, "host", 96, 0.1, 1.0, 0.25)
    assert "0.2 s from the page cache (host)" in run(store, "show", "tiny").stdout
    details = json.loads(run(store, "show", "tiny", "--json").stdout)
    assert details["load"] == {"host": {"cached_s": 0.25, "disk_s": None}}
