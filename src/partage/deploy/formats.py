"""Findings for people, programs, code scanning (SARIF 2.1.0) and GitHub's annotations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from partage import __version__
from partage.deploy.findings import Finding
from partage.deploy.lint import Report
from partage.deploy.rules.all_rules import RULES

if TYPE_CHECKING:
    from partage.json_value import JsonObject, JsonValue


def as_text(report: Report) -> str:
    lines: list[str] = []
    for finding in report.findings:
        mark = " [*]" if finding.fix and finding.fix.safe else ""
        lines.append(f"{finding.path}:{finding.line}:{finding.column}: {finding.code}{mark} {finding.message}")
        lines.append(f"    cure: {finding.cure}")
    return "\n".join([*lines, _summary(report)])


def _summary(report: Report) -> str:
    count = len(report.findings)
    fixable = sum(1 for finding in report.findings if finding.fix and finding.fix.safe)
    parts = [f"{report.fixed} mended"] if report.fixed else []
    parts.append(f"{count} finding{'s' if count != 1 else ''}" if count else "nothing found")
    if fixable:
        parts.append(f"{fixable} can be mended with --fix")
    if count:
        parts.append(f"partage lint --explain {report.findings[0].code}")
    return f"{report.files} file{'s' if report.files != 1 else ''}: " + "; ".join(parts)


def as_json(findings: Sequence[Finding]) -> list[JsonValue]:
    return [
        {
            "code": finding.code,
            "name": finding.name,
            "level": finding.level,
            "message": finding.message,
            "cure": finding.cure,
            "file": finding.path,
            "line": finding.line,
            "column": finding.column,
            "fixable": finding.fix is not None,
        }
        for finding in findings
    ]


def as_sarif(findings: Sequence[Finding]) -> JsonObject:
    codes = sorted({finding.code for finding in findings})
    rules: list[JsonValue] = [
        {
            "id": code,
            "name": RULES[code].name,
            "shortDescription": {"text": RULES[code].summary},
            "fullDescription": {"text": RULES[code].explanation},
            "help": {"text": f"{RULES[code].cure}\nSource: {RULES[code].source}"},
        }
        if code in RULES
        else {"id": code, "name": "unreadable", "shortDescription": {"text": "The file cannot be read."}}
        for code in codes
    ]
    results: list[JsonValue] = [
        {
            "ruleId": finding.code,
            "ruleIndex": codes.index(finding.code),
            "level": finding.level,
            "message": {"text": f"{finding.message}. Cure: {finding.cure}"},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": finding.path.replace("\\", "/")},
                        "region": {"startLine": finding.line, "startColumn": finding.column},
                    }
                }
            ],
        }
        for finding in findings
    ]
    tool: JsonObject = {"driver": {"name": "partage lint", "version": __version__, "rules": rules}}
    return {"version": "2.1.0", "runs": [{"tool": tool, "columnKind": "unicodeCodePoints", "results": results}]}


def as_github(findings: Sequence[Finding]) -> str:
    """Workflow commands: one annotation per finding."""
    return "\n".join(
        f"::{finding.level} file={_property(finding.path)},line={finding.line},col={finding.column},"
        f"title={finding.code}::{_data(f'{finding.message}. Cure: {finding.cure}')}"
        for finding in findings
    )


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
