"""The commands ingest and ask as programs, against a running RAG service with a fake hub."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
from rag_service import FakeHub, rag_over, served

from partage.rag.settings import RagSettings

pytestmark = pytest.mark.live


async def partage(home: Path, *arguments: str | Path) -> tuple[int, str, str]:
    program = "import typer; from partage.cli.rag import register; app = typer.Typer(); register(app); app()"
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, *map(str, arguments),
        env={"PARTAGE_HOME": str(home), "HOME": str(home)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(child.communicate(), 60)
    return child.returncode or 0, out.decode(), err.decode()


async def test_files_are_taken_in_and_questions_answered_with_exit_codes_that_mean_something(tmp_path: Path):
    policy, odd = tmp_path / "policy [1].md", tmp_path / "odd.pdf"
    policy.write_text("Goods may be sent back within 30 days of delivery.", encoding="utf-8")
    odd.write_bytes(b"not a PDF")
    async with (
        served(FakeHub().app()) as hub_url,
        rag_over(RagSettings(data_dir=tmp_path / "rag", hub_url=hub_url)) as rag,
    ):
        url = rag.url
        code, out, err = await partage(tmp_path, "ingest", policy, odd, "--url", url)
        assert (code, err) == (1, "")
        assert "policy [1].md: 1 page, 1 chunk" in out
        assert "not what its name says" in out
        code, out, _ = await partage(tmp_path, "ingest", policy, "--url", url, "--json")
        assert (code, json.loads(out)[0]["created"]) == (0, False)

        code, out, err = await partage(tmp_path, "ask", "When may goods be sent back?", "--url", url)
        assert (code, err) == (0, "")
        assert "Goods may be sent back within 30 days of delivery. [1]" in out
        assert "0-50" in out
        code, out, _ = await partage(tmp_path, "ask", "When may goods be sent back?", "--url", url, "--json")
        assert (code, json.loads(out)["citations"][0]["span"]) == (0, [0, 50])
        answers = await partage(tmp_path, "ask", "goods?", "--url", url, "--model", "nobody")
        assert (answers[0], answers[2]) == (
            1,
            "partage: model 'nobody' not found, try pulling it first: partage pull nobody\n",
        )
    code, _, err = await partage(tmp_path, "ask", "anything", "--url", url)
    assert code == 1
    assert "start it with `partage up`" in err
