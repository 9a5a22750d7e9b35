from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from partage.cli.main import build
from partage.deploy.formats import as_github, as_json, as_sarif
from partage.deploy.lint import Selection, apply_fixes, files_below, lint, lint_sources
from partage.deploy.source import Source
from partage.errors import InvalidRequest, UnreadableFile

EXAMPLES = Path(__file__).parent / "examples"

OPEN = 'services:\n  ollama:\n    image: ollama/ollama\n    ports: ["11434:11434"]\n'


def write(folder: Path, text: str, name: str = "compose.yml") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def codes(*paths: Path, merge: tuple[Path, ...] = ()) -> list[str]:
    return [finding.code for finding in lint(paths, merge=merge).findings]


@pytest.mark.parametrize(
    "text",
    [
        OPEN.replace('"]', '"] # noqa'),
        OPEN.replace('"]', '"] # noqa: PG012, PG060 on purpose'),
        OPEN.replace("    ports", "    # noqa: PG060\n    ports"),
        "# partage: noqa: PG060\n" + OPEN,
        "# partage: noqa\n" + OPEN,
    ],
)
def test_noqa_excuses_its_line_the_line_below_or_the_file(tmp_path: Path, text: str):
    assert codes(write(tmp_path, text)) == []


def test_noqa_of_another_rule_excuses_nothing(tmp_path: Path):
    assert codes(write(tmp_path, OPEN.replace('"]', '"] # noqa: PG012'))) == ["PG060"]


def test_selection_by_beginning_of_code(tmp_path: Path):
    file = write(tmp_path, OPEN)
    assert lint([file], Selection(select=("PG01",))).findings == []
    assert lint([file], Selection(ignore=("PG06",))).findings == []
    with pytest.raises(InvalidRequest, match="no rule PX1"):
        lint([file], Selection(select=("PX1",)))


def test_a_directory_is_searched_by_file_names(tmp_path: Path):
    for name in (
        "docker-compose.prod.yml",
        "compose.yaml",
        "Dockerfile",
        "app.Dockerfile",
        ".env",
        "prod.env",
        "values.yaml",
    ):
        write(tmp_path, "", name)
    (tmp_path / "node_modules").mkdir()
    write(tmp_path / "node_modules", "", "compose.yml")
    found = {path.name for path in files_below([tmp_path])}
    assert found == {"docker-compose.prod.yml", "compose.yaml", "Dockerfile", "app.Dockerfile", ".env", "prod.env"}


NAMES = (
    "compose.yaml", "docker-compose.gpu.yml", "my-compose.yml", "Dockerfile", "Dockerfile.gpu", "web.Dockerfile", "Containerfile",
    ".env", ".env.example", "ollama.env", "prod.env.sample", "decompose.yml", "stack.yml", "README.md", "dockerfile.py", "environment",
)  # fmt: skip


def test_the_hooks_name_the_files_that_a_directory_is_searched_for(tmp_path: Path):
    for name in NAMES:
        write(tmp_path, "", name)
    found = {path.name for path in files_below([tmp_path])}
    hooks = (Path(__file__).parents[3] / ".pre-commit-hooks.yaml").read_text(encoding="utf-8")
    patterns = re.findall(r"^  files: (.+)$", hooks, re.MULTILINE)
    assert len(patterns) == 2
    for pattern in patterns:
        assert {name for name in NAMES if re.search(pattern, f"stacks/{name}")} == found


def test_override_files_are_merged_as_compose_does(tmp_path: Path):
    base = write(tmp_path, OPEN + "    environment: {CUDA_VISIBLE_DEVICES: '1', OLLAMA_NUM_GPU: '1'}\n", "base.yml")
    over = write(
        tmp_path,
        "services:\n  ollama:\n    ports: !override ['127.0.0.1:11434:11434']\n    environment: [CUDA_VISIBLE_DEVICES=0]\n"
        "    deploy:\n      resources:\n        reservations:\n          devices:\n"
        "            - {driver: nvidia, device_ids: ['1'], capabilities: [gpu]}\n",
        "gpu.yml",
    )
    merged = lint([], merge=(base, over)).findings
    assert [(finding.code, Path(finding.path).name) for finding in merged] == [("PG023", "base.yml")]


def test_values_come_from_the_env_file_beside_it(tmp_path: Path):
    file = write(tmp_path, OPEN.replace('"11434', '"${BIND:-0.0.0.0}:11434'))
    assert codes(file) == ["PG060"]
    write(tmp_path, "BIND=127.0.0.1\n", ".env")
    assert codes(file) == []


def test_no_file_that_is_named_inside_is_opened(tmp_path: Path):
    write(tmp_path, "OLLAMA_NUM_GPU=1\n", "named.env")
    write(tmp_path, "services:\n  base:\n    environment: {OLLAMA_NUM_GPU: 1}\n", "base.yml")
    text = "include: [base.yml]\nservices:\n  ollama:\n    image: ollama/ollama\n    env_file: named.env\n"
    text += "    extends: {file: base.yml, service: base}\n"
    assert codes(write(tmp_path, text)) == []


def test_one_anchor_is_one_finding(tmp_path: Path):
    text = "x-gpu: &gpu {resources: {reservations: {devices: [{driver: nvidia, count: 1}]}}}\nservices:\n"
    text += "".join(f"  app{n}: {{image: app, deploy: *gpu}}\n" for n in range(3))
    assert codes(write(tmp_path, text)) == ["PG010"]


def test_what_is_no_compose_file_has_no_findings(tmp_path: Path):
    assert codes(write(tmp_path, "a: 1\n"), write(tmp_path, "", "empty.yml"), write(tmp_path, "[1]", "list.yml")) == []


HOSTILE = {
    "pulls": b"services: {x: {image: x, command: '" + b"/api/pull " * 24_000 + b"'}}\n",
    "defaults": b'services: {x: {image: "' + b"${A:-" * 40_000 + b'"}}\n',
    "bomb": b"a: &a [x, x]\n" + b"\n".join(b"%c: &%c [%s]" % (c + 1, c + 1, b",".join([b"*%c" % c] * 9)) for c in range(97, 121)),
    "merges": b"a: &a {x: 1}\n" + b"\n".join(b"%c: &%c\n  <<: [%s]" % (c + 1, c + 1, b",".join([b"*%c" % c] * 9)) for c in range(97, 121)),
    "itself": b"services: &a\n  x: *a\n",
    "deep": b"[" * 200_000,
    "many": b"[" + b"1," * 120_000 + b"]",
    "large": b"a: " + b"x" * 10_000_000,
    "latin": "services: {ä: 1}".encode("latin-1"),
    "nul": b"a: \0",
    "tag": b"!" * 200_000,
    "half utf-16": b"\xff\xfea\0:",
}  # fmt: skip


MANY = {
    "findings.env": b"OLLAMA_NUM_GPU=1\n" * 15_000,
    "excused.env": b"OLLAMA_NUM_GPU=1  # noqa: PG001\n" * 8_000,
    "loops.yml": b'services: {x: {image: ollama/ollama, command: "' + b"until x " * 30_000 + b'"}}\n',
    "parallel.yml": b'services: {x: {image: vllm/vllm-openai, gpus: all, command: "-dp' + b" " * 200_000 + b'1"}}\n',
    "names.yml": b"services: {x: {image: ollama/ollama, environment: [OLLAMA_" + b"KEEP_ALIVE" * 20_000 + b"=1]}}\n",
    "keys.Dockerfile": b"FROM nvidia/cuda:12.6.3-base-ubuntu22.04\nRUN " + b"apt-key adv " * 20_000,
}


@pytest.mark.parametrize("name", MANY)
@pytest.mark.timeout(20)
def test_the_cost_grows_with_the_text_and_no_faster(tmp_path: Path, name: str):
    file = tmp_path / name
    file.write_bytes(MANY[name])
    assert "PG001" not in codes(file)


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.timeout(20)
def test_a_hostile_file_gets_an_answer_and_a_place(tmp_path: Path, name: str):
    file = tmp_path / "compose.yml"
    file.write_bytes(HOSTILE[name])
    findings = lint([file]).findings
    assert [finding.code for finding in findings] == (
        [] if name in ("bomb", "merges", "defaults", "pulls") else ["PG001"]
    )


def test_utf16_is_read(tmp_path: Path):
    file = tmp_path / "compose.yml"
    file.write_bytes(OPEN.encode("utf-16"))
    assert codes(file) == ["PG060"]


def test_a_device_or_a_missing_file_is_not_read(tmp_path: Path):
    assert codes(Path("/dev/zero"), tmp_path / "compose.yml") == ["PG001", "PG001"]


def test_fix_keeps_every_other_byte(tmp_path: Path):
    text = "# top\r\nservices:\r\n  a:   {image: app,\r\n    gpus: [{count: all, device_ids: [0]}]}   # end\r\n\r\n"
    file = tmp_path / "compose.yml"
    file.write_bytes(text.encode())
    report = lint([file], Selection(select=("PG017",)), fix=True)
    assert report.fixed == 1
    assert file.read_bytes() == text.replace("[0]", '["0"]').encode()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_fix_keeps_the_encoding(tmp_path: Path, encoding: str):
    text = "services:\n  a: {image: app, gpus: [{device_ids: [0]}]}  # größer\n"
    file = tmp_path / "compose.yml"
    file.write_bytes(text.encode(encoding))
    assert lint([file], Selection(select=("PG017",)), fix=True).fixed == 1
    assert file.read_bytes() == text.replace("[0]", '["0"]').encode(encoding)


JUNK = (
    "null",
    "[]",
    "{}",
    '"x"',
    "[{}]",
    "~",
    "1.5",
    "[[a]]",
    "{a: b}",
    "${X",
    "$",
    "&a",
    "*a",
    "!reset null",
    "|",
    "#",
    "all",
)


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_stands_in_a_file_no_rule_falls_over(data: st.DataObject):
    path = data.draw(st.sampled_from(sorted(EXAMPLES.glob("*/*"))))
    lines = path.read_text(encoding="utf-8").split("\n")
    for _ in range(data.draw(st.integers(1, 4))):
        index = data.draw(st.integers(0, len(lines) - 1))
        key = lines[index].split(":")[0]
        lines[index] = f"{key}: {data.draw(st.sampled_from(JUNK))}"
    text = "\n".join(lines)
    with contextlib.suppress(UnreadableFile):
        apply_fixes(text, lint_sources([Source(str(path), text)], Selection(select=("ALL",)).rules()))


def test_the_three_formats_say_where(tmp_path: Path):
    findings = lint([write(tmp_path, OPEN)]).findings
    assert as_json(findings)[0]["line"] == 4  # pyright: ignore
    sarif = json.loads(json.dumps(as_sarif(findings)))
    location = sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert location["region"] == {"startLine": 4, "startColumn": 13}
    assert sarif["runs"][0]["tool"]["driver"]["rules"][0]["id"] == "PG060"
    assert as_github(findings).startswith("::warning file=")
    assert ",line=4,col=13,title=PG060::" in as_github(findings)


@pytest.mark.parametrize(("text", "status"), [("services: {}\n", 0), (OPEN, 1), ("a: [", 2)])
def test_exit_code(tmp_path: Path, text: str, status: int):
    result = CliRunner().invoke(build("lint"), ["lint", str(write(tmp_path, text))])
    assert result.exit_code == status


def test_explain_cites_the_source():
    result = CliRunner().invoke(build("lint"), ["lint", "--explain", "pg023"])
    assert result.exit_code == 0
    assert "ollama#5754" in result.output
    assert CliRunner().invoke(build("lint"), ["lint", "--explain", "PG999"]).exit_code == 2
