"""`partage lint`: read the files that were named, ask every rule, leave out what `# noqa` excuses, mend what can be mended.

Nothing that a file names is opened, run or fetched.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from partage.deploy.compose_file import project_of
from partage.deploy.dockerfile import Dockerfile
from partage.deploy.findings import Finding, Flaw, Rule
from partage.deploy.rules.all_rules import RULES, UNREADABLE
from partage.deploy.source import Source, decode, encoding_of, read_source
from partage.deploy.subjects import Document, DotEnv, subjects_of
from partage.deploy.variables import UNKNOWN, read_dotenv
from partage.deploy.yaml_tree import read_yaml
from partage.errors import InvalidRequest, UnreadableFile

MAX_PASSES = 4
"""Of --fix: one cure may uncover the next."""
_COMPOSE = re.compile(r"(?:.*[.-])?compose(?:[.-].*)?\.ya?ml", re.IGNORECASE)
_DOCKERFILE = re.compile(
    r"(?:Dockerfile|Containerfile)(?:[.-](?!(?:py|md|go|js|ts|rs)$).+)?|.+[.-](?:Dockerfile|Containerfile)",
    re.IGNORECASE,
)
_DOTENV = re.compile(r"\.env(?:[.-].+)?|.+\.env(?:\.example|\.sample)?", re.IGNORECASE)
_SKIPPED = frozenset({".git", ".venv", "venv", "node_modules", "__pycache__", ".tox", "site-packages"})
_NOQA = re.compile(r"#\s*noqa\b(?P<codes>\s*:\s*[A-Z]+\d+(?:[,\s]+[A-Z]+\d+)*)?", re.IGNORECASE)
_NOQA_FILE = re.compile(r"^\s*#\s*partage:\s*noqa\b(?P<codes>\s*:\s*[A-Z]+\d+(?:[,\s]+[A-Z]+\d+)*)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rules are asked."""

    select: tuple[str, ...] = ()
    """Codes or beginnings of codes, ALL for every rule; empty: those that are on by default."""
    extend: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()

    def rules(self) -> list[Rule[object]]:
        """Raises InvalidRequest for a code that no rule has."""
        for code in (*self.select, *self.extend, *self.ignore):
            if code != "ALL" and not any(known.startswith(code) for known in (*RULES, UNREADABLE)):
                raise InvalidRequest(f"there is no rule {code}; `partage lint --explain ALL` lists them")
        return [
            rule
            for code, rule in RULES.items()
            if (_matches(code, self.select) if self.select else rule.default) or _matches(code, self.extend)
            if not _matches(code, self.ignore)
        ]


@dataclass(slots=True)
class Report:
    findings: list[Finding] = field(default_factory=list[Finding])
    files: int = 0
    fixed: int = 0

    @property
    def unreadable(self) -> bool:
        return any(finding.code == UNREADABLE for finding in self.findings)


def lint(
    paths: Sequence[Path],
    selection: Selection = Selection(),
    *,
    merge: Sequence[Path] = (),
    fix: bool = False,
    unsafe: bool = False,
) -> Report:
    """Each file for itself; those in `merge` as one project, the later over the earlier."""
    rules = selection.rules()
    report = Report()
    for group in [[path] for path in files_below(paths)] + ([list(merge)] if merge else []):
        report.files += len(group)
        findings = _lint_group(group, rules)
        for _ in range(MAX_PASSES if fix else 0):
            mended = _mend(findings, unsafe=unsafe)
            report.fixed += mended
            if not mended:
                break
            findings = _lint_group(group, rules)
        report.findings += findings
    return report


def files_below(paths: Iterable[Path]) -> Iterator[Path]:
    """The files as named; of directories those whose names say what they are."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(name for name in folders if name not in _SKIPPED)
            for name in sorted(names):
                if _COMPOSE.fullmatch(name) or _DOCKERFILE.fullmatch(name) or _DOTENV.fullmatch(name):
                    yield Path(folder, name)


def lint_sources(sources: Sequence[Source], rules: Sequence[Rule[object]]) -> list[Finding]:
    """One document made of these texts, in order of place. Raises UnreadableFile."""
    findings: dict[tuple[str, int, int, str], Finding] = {}
    document = _document(sources)
    if document is None:
        return []
    for subject in subjects_of(document):
        for rule in rules:
            if not isinstance(subject, rule.subject):
                continue
            for flaw in rule.check(subject):
                finding = _finding(rule, flaw)
                if not _is_excused(flaw.place.source, finding):
                    # An anchor that several services share is one mistake.
                    findings.setdefault((finding.path, finding.line, finding.column, finding.code), finding)
    return sorted(findings.values(), key=lambda one: (one.path, one.line, one.column, one.code))


def _lint_group(group: Sequence[Path], rules: Sequence[Rule[object]]) -> list[Finding]:
    path = group[0]
    try:
        sources: list[Source] = []
        for path in group:
            sources.append(read_source(path))
        return lint_sources(sources, rules)
    except UnreadableFile as error:
        cure = "mend the file, or do not name it"
        where = str(path)
        return [Finding(UNREADABLE, "unreadable", "error", error.message, cure, where, error.line, error.column)]


def _document(sources: Sequence[Source]) -> Document | None:
    first = sources[0]
    name = Path(first.path).name
    if _DOCKERFILE.fullmatch(name):
        return Dockerfile(first)
    if _DOTENV.fullmatch(name):
        return DotEnv(first, read_dotenv(first))
    return project_of([document for source in sources for document in read_yaml(source)], _beside(first))


def _beside(source: Source) -> Mapping[str, str]:
    """Compose itself fills `${...}` in from the .env file in the project's directory."""
    try:
        variables = read_dotenv(read_source(Path(source.path).parent / ".env"))
    except UnreadableFile:
        return {}
    return {variable.name: variable.value for variable in variables if UNKNOWN not in variable.value}


def _finding(rule: Rule[object], flaw: Flaw) -> Finding:
    place = flaw.place
    return Finding(
        rule.code, rule.name, rule.level, flaw.message, rule.cure, place.source.path, place.line, place.column, flaw.fix
    )


def _is_excused(source: Source, finding: Finding) -> bool:
    """By `# noqa` on its line or alone on the line above, or by `# partage: noqa` anywhere in the file."""
    excuses = _excuses_for_all(source)
    if excuses is None:
        return False
    above = source.line(finding.line - 1)
    lines = [source.line(finding.line), above if above.lstrip().startswith("#") else ""]
    here = [match for line in lines if (match := _NOQA.search(line)) and not _NOQA_FILE.match(line)]
    return any(not match["codes"] or finding.code in match["codes"].upper() for match in (*here, *excuses))


@lru_cache(maxsize=4)
def _excuses_for_all(source: Source) -> tuple[re.Match[str], ...] | None:
    """Of its whole file; None where nothing is excused at all. Once per file: there may be thousands of findings."""
    if "noqa" not in source.text.lower():
        return None
    return tuple(match for line in source.lines if (match := _NOQA_FILE.match(line)))


def _mend(findings: Sequence[Finding], *, unsafe: bool) -> int:
    """Apply what can be applied, every character outside the edits untouched. The number of findings mended."""
    by_path: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.fix and (finding.fix.safe or unsafe):
            by_path.setdefault(finding.path, []).append(finding)
    mended = 0
    for path, fixable in by_path.items():
        file = Path(path)
        data = file.read_bytes()
        mark, encoding = encoding_of(data)
        fixed, count = apply_fixes(decode(data), fixable)
        if count:
            file.write_bytes(mark + fixed.encode(encoding))
            mended += count
    return mended


def apply_fixes(text: str, findings: Collection[Finding]) -> tuple[str, int]:
    """From the end backwards; a fix that touches what another one changed waits for the next pass."""
    edits = [finding.fix.edits for finding in findings if finding.fix]
    free_until = len(text) + 1
    count = 0
    for group in sorted(edits, key=lambda group: group[0].start, reverse=True):
        if any(edit.end > free_until for edit in group):
            continue
        for edit in sorted(group, key=lambda edit: edit.start, reverse=True):
            text = text[: edit.start] + edit.text + text[edit.end :]
        free_until = min(edit.start for edit in group)
        count += 1
    return text, count


def _matches(code: str, prefixes: Collection[str]) -> bool:
    return any(prefix == "ALL" or code.startswith(prefix) for prefix in prefixes)
