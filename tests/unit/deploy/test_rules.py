from __future__ import annotations

import re
from pathlib import Path

import pytest

from partage.deploy.lint import Selection, lint
from partage.deploy.rules.all_rules import RULES

EXAMPLES = Path(__file__).parent / "examples"
FAILING = sorted(EXAMPLES.glob("*/fail*"))
PASSING = sorted(EXAMPLES.glob("*/pass*"))
EVERY_RULE = Selection(select=("ALL",))


def name(path: Path) -> str:
    return f"{path.parent.name}-{path.name}"


def marked_lines(path: Path) -> set[int]:
    """`<- here` marks its own line, a line `# below` the next one."""
    lines = path.read_text(encoding="utf-8").splitlines()
    here = {number for number, line in enumerate(lines, 1) if line.endswith("<- here")}
    return here | {number + 1 for number, line in enumerate(lines, 1) if line == "# below"}


@pytest.mark.parametrize("path", FAILING, ids=name)
def test_the_rule_finds_the_mistake_where_it_stands(path: Path):
    found = {finding.line for finding in lint([path], EVERY_RULE).findings if finding.code == path.parent.name}
    assert found == (marked_lines(path) or {3})  # only the broken YAML has no line to mark


@pytest.mark.parametrize("path", PASSING, ids=name)
def test_the_rule_is_silent_where_all_is_well(path: Path):
    assert [finding for finding in lint([path], EVERY_RULE).findings if finding.code == path.parent.name] == []


def test_every_rule_has_examples_of_both_kinds():
    failing, passing = {path.parent.name for path in FAILING}, {path.parent.name for path in PASSING}
    assert failing == passing == {*RULES, "PG001"}


@pytest.mark.parametrize("code", RULES)
def test_every_rule_explains_itself_and_names_its_source(code: str):
    rule = RULES[code]
    assert rule.code == code
    assert re.fullmatch(r"PG\d{3}", code)
    assert rule.summary.endswith((".", "?"))
    assert rule.source
    assert rule.cure
    assert not re.search(r"https?://(?!localhost|ollama)|www\.", rule.explanation + rule.source + rule.cure)


@pytest.mark.parametrize("path", [path for path in FAILING if path.parent.name != "PG001"], ids=name)
def test_what_is_mended_is_not_found_again_and_nothing_else_changes(path: Path, tmp_path: Path):
    rule = RULES[path.parent.name]
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    only = Selection(select=(rule.code,))
    before = lint([path], only).findings
    report = lint([copy], only, fix=True, unsafe=True)
    fixable = [finding for finding in before if finding.fix]
    assert report.fixed == len(fixable)
    assert len(report.findings) == len(before) - len(fixable)
    assert bool(fixable) <= rule.fixable
    kept = set(path.read_text().splitlines()) - {path.read_text().splitlines()[one.line - 1] for one in fixable}
    assert kept <= set(copy.read_text().splitlines())


def test_every_rule_that_says_it_mends_does():
    mended = {
        finding.code for path in FAILING for finding in lint([path], Selection(select=("ALL",))).findings if finding.fix
    }
    assert mended >= {code for code, rule in RULES.items() if rule.fixable}


def test_the_page_lists_every_rule():
    page = (Path(__file__).parents[3] / "docs" / "lint.md").read_text(encoding="utf-8")
    for rule in RULES.values():
        off = "" if rule.default else " Off unless selected."
        assert f"| {rule.code} | {rule.name} | {rule.summary}{off} | {rule.mended_by} |" in page


@pytest.mark.parametrize("path", [path for path in FAILING if path.parent.name != "PG001"], ids=name)
def test_a_rule_says_whether_its_fix_is_a_safe_one(path: Path):
    rule = RULES[path.parent.name]
    fixes = [one.fix for one in lint([path], Selection(select=(rule.code,))).findings if one.fix]
    assert all(fix.safe is not rule.unsafe for fix in fixes)
