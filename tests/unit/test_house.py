"""The rules of the house that no linter knows (CONTRIBUTING.md)."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from partage import errors

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
CEILING_LINES = 400
NAMED_FILE = r"`(src/[\w/.]+|tests/[\w/.]+|bench/[\w/.]+\.py)`"


def test_no_module_is_longer_than_the_ceiling():
    long = {str(path.relative_to(ROOT)): lines for path in SOURCES if (lines := _lines(path)) > CEILING_LINES}
    assert long == {}


def test_no_drawer_has_a_name_that_says_nothing():
    forbidden = {"utils", "util", "helpers", "helper", "manager", "managers", "common", "misc"}
    assert [path for path in SOURCES if path.stem in forbidden or forbidden & set(path.parts)] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_a_file_says_what_it_is_in_its_first_line(path: Path):
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring
    assert docstring.splitlines()[0].strip().endswith((".", ":"))


def test_a_rooms_init_holds_a_docstring_and_nothing_else():
    for path in SOURCES:
        if path.name == "__init__.py" and path.parent.name != "partage":
            body = ast.parse(path.read_text(encoding="utf-8")).body
            assert [type(node).__name__ for node in body] == ["Expr"], path


def test_the_map_names_every_room():
    text = (ROOT / "docs" / "map.md").read_text(encoding="utf-8")
    rooms = {
        path.parent.name for path in SOURCES if path.name == "__init__.py" and path.parent.parent.name == "partage"
    }
    assert {room for room in rooms if f"`{room}/`" not in text} == set()


def test_every_file_the_documents_name_is_there():
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    named = {
        (document.name, name)
        for document in documents
        for name in re.findall(NAMED_FILE, document.read_text(encoding="utf-8"))
    }
    assert {pair for pair in named if not (ROOT / pair[1]).exists()} == set()


def test_no_lock_file_names_an_index():
    for lock in (ROOT / "locks").glob("*.txt"):
        assert not re.search(r"https?://|--(extra-)?index-url", lock.read_text(encoding="utf-8")), lock


def test_every_error_is_in_the_tree_at_the_top_of_its_file():
    classes = [name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)]
    assert [name for name in classes if name not in (errors.__doc__ or "")] == []


def test_an_error_without_a_message_says_its_docstring():
    assert errors.ShuttingDown().message == "The server is shutting down."


def _lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())
