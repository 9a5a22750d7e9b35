from __future__ import annotations

import pytest

from partage.domain import Client, Request
from partage.hub.demand import demand_of

from .conftest import CHAT, chat, model


@pytest.mark.parametrize(("asked", "taken"), [(None, 0), (512, 512), (1_000_000, 4096)])
def test_a_context_beyond_the_models_training_is_taken_as_that(asked: int | None, taken: int):
    request = Request(id="1", model=CHAT, client=Client(name="x"), work=chat(), context_tokens=asked)
    assert demand_of(request, model=model(CHAT), now_s=0.0, keep_alive_s=None).context_tokens == taken
