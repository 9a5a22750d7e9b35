"""A small helping of bench/api_fuzz.py: hostile clients leave nothing behind and meet no defect of ours."""

from __future__ import annotations

import logging

import aiohttp
import pytest

from bench.api_fuzz import GOOD, QUICK, fuzz
from bench.fuzz_hub import fuzz_hub

pytestmark = pytest.mark.live


async def test_what_the_cases_are_made_of_is_served():
    async with fuzz_hub(QUICK) as hub, aiohttp.ClientSession() as session:
        for (method, path), body in GOOD.items():
            async with session.request(method, f"http://127.0.0.1:{hub.port}{path}", json=body) as answer:
                assert answer.status == 200, (path, await answer.text())
        await hub.wait_idle()


@pytest.mark.parametrize("seed", [1, 2])
async def test_hostile_clients_meet_no_defect_and_leave_nothing_behind(seed: int):
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    tally = await fuzz(bodies=400, broken=300, seed=seed)
    assert tally.defects == []
    assert tally.statuses[200] > 100
    assert tally.statuses[400] > 100
