from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from partage.cli.main import build

TRACE = "time,model,input_tokens,output_tokens\n" + "".join(f"{n * 5},{'ab'[n % 2]},100,20\n" for n in range(12))


def not_json(text: str) -> float:
    raise AssertionError(f"{text} is not JSON")


def test_what_has_no_number_is_null_in_json_and_a_dash_on_the_screen(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(TRACE)
    words = ["simulate", str(path), "--loads", "1", "--gpus", "8GB", "--policies", "partage,lru", "--sizes", "6GB"]
    said = CliRunner().invoke(build("simulate"), [*words, "--json"])
    assert said.exit_code == 0
    rows = json.loads(said.stdout, parse_constant=not_json)
    assert [row["policy"] for row in rows] == ["partage", "lru"]
    assert [row["batch_attainment"] for row in rows] == [None, None]
    assert "nan" not in CliRunner().invoke(build("simulate"), words).stdout


def test_a_file_that_is_no_trace_and_no_journal_is_said_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("time flies\n")
    said = CliRunner().invoke(build("simulate"), ["simulate", str(path)])
    assert said.exit_code == 1
    assert "notes.txt: the header ['time flies'] is of no known trace" in " ".join(said.stderr.split())


def test_sizes_of_nothing_and_without_a_unit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(TRACE)
    for words, why in (
        (["--gpus", "none"], "at least one GPU"),
        (["--gpus", "24"], "as in 24GiB"),
        (["--sizes", "6GB,0"], "give units"),
        (["--sizes", "6"], "give units"),
    ):
        said = CliRunner().invoke(build("simulate"), ["simulate", str(path), *words])
        assert said.exit_code == 1
        assert why in " ".join(said.stderr.split())
