from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from partage.cli import lint, main
from partage.cli.files import failure
from partage.cli.terminal import counted, table_of, with_scheme


@pytest.mark.parametrize("called", ["serve", "list", "stop", "help", "version"])
def test_what_ollamas_users_type_is_answered_with_what_it_is_called_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], called: str
):
    monkeypatch.setattr(sys, "argv", ["partage", called, "llama3.2"])
    with pytest.raises(SystemExit) as left:
        main.run()
    assert left.value.code == 2
    assert "partage " in capsys.readouterr().err.removeprefix("partage: ")


def test_an_address_is_taken_as_ollama_host_takes_it():
    assert with_scheme("localhost:11434") == "http://localhost:11434"
    assert with_scheme("https://hub.example.com") == "https://hub.example.com"
    assert with_scheme(None) is None


def test_one_is_not_many():
    assert (counted(1, "page"), counted(0, "page"), counted(2, "page")) == ("1 page", "0 pages", "2 pages")


def test_what_is_too_wide_for_the_terminal_is_folded_and_never_cut(capsys: pytest.CaptureFixture[str]):
    table = table_of("MODEL", "STATE", "WHAT")
    table.add_row("smollm2:135m", "ready", "e.whitcombe@example.com")
    Console(width=24).print(table)
    told = capsys.readouterr().out
    assert "smollm2:135m" in told
    assert "\N{HORIZONTAL ELLIPSIS}" not in told


def test_ctrl_c_while_a_command_is_imported_is_no_traceback(monkeypatch: pytest.MonkeyPatch):
    def interrupted(_called: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["partage", "ls"])
    monkeypatch.setattr(main, "build", interrupted)
    with pytest.raises(SystemExit) as left:
        main.run()
    assert left.value.code == 130


def test_lint_prints_json_as_the_other_commands_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    compose = tmp_path / "compose.yaml"
    compose.write_text("services: {a: {image: ollama/ollama, environment: {OLLAMA_MAX_VRAM: 1}}}\n")
    assert lint.main(["--json", str(compose)]) == 1
    assert json.loads(capsys.readouterr().out)[0]["code"].startswith("PG")


def test_top_without_a_terminal_says_what_programs_ask_instead():
    said = CliRunner().invoke(main.build("top"), ["top"])
    assert said.exit_code == 2
    assert "partage ps --json" in said.stderr


def test_what_became_of_a_file_names_it_once():
    assert failure("scans/a.pdf", "a.pdf is empty; send PDF") == "[red]scans/a.pdf[/red]: is empty; send PDF"
    assert failure("a[b].pdf", "the PDF is corrupt") == r"[red]a\[b].pdf[/red]: the PDF is corrupt"
