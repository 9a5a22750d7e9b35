from __future__ import annotations

from pathlib import Path

import pytest

from partage.demo.run import run
from partage.demo.stack import Endpoints
from partage.serve.stack import running_stack

pytestmark = pytest.mark.live


@pytest.mark.timeout(600)
async def test_demo_on_the_whole_stack_holds_all_that_it_must(copied_home: Path, tmp_path: Path):
    async with running_stack(copied_home, ephemeral_ports=True, log_to_files=True) as stack:
        endpoints = Endpoints(
            hub_url=stack.urls["hub"],
            documents_url=stack.urls["documents"],
            rag_url=stack.urls["rag"],
            chat_key=stack.keys["chat"],
            admin_key=stack.keys["admin"],
        )
        result = await run(endpoints, out=tmp_path / "papers")
    assert result.problems == ()
    assert result.indexed == len(result.documents) + 2
    assert {client.name for client in result.clients} >= {"chat", "rag"}
    assert {resident.model for resident in result.residents} == {"smollm2:135m", "all-minilm:22m"}
    assert all(resident.measured_bytes for resident in result.residents)
