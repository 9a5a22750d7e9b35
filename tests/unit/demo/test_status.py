from __future__ import annotations

import pytest

from partage.demo.status import Resident, Status, all_residents, peak_bytes, read_status
from partage.errors import EngineError


def resident(model: str, *, estimated: int | None = None, measured: int | None = None) -> Resident:
    return Resident(model=model, device="host", estimated_bytes=estimated, measured_bytes=measured)


def test_missing_and_unknown_keys_are_no_error():
    status = read_status(
        {"version": "9", "residents": [{"model": "a", "new": 1}], "clients": [{"name": "chat", "class": "batch"}]}
    )
    assert status.residents == [Resident(model="a")]
    assert (status.clients[0].class_, status.clients[0].ttft_s) == ("batch", None)
    assert read_status({}) == Status()


def test_spread_without_samples_reads_as_unknown():
    status = read_status({"clients": [{"queued_s": {}, "ttft_s": {"p50": 0.1, "p95": 0.2, "max": 0.3}}]})
    assert status.clients[0].queued_s is not None
    assert status.clients[0].queued_s.p50 is None


def test_value_of_another_kind_is_named():
    with pytest.raises(EngineError, match="requests"):
        read_status({"clients": [{"requests": "many"}]})


def test_model_that_was_evicted_before_the_end_is_still_shown_as_it_was_measured():
    seen = [
        Status(residents=[resident("chat", estimated=100)]),
        Status(residents=[resident("chat", estimated=100, measured=90), resident("embed", estimated=30, measured=31)]),
        Status(residents=[resident("chat", estimated=100)]),
    ]
    assert {known.model: known.measured_bytes for known in all_residents(seen)} == {"chat": 90, "embed": 31}


def test_peak_is_of_one_reading_and_not_the_sum_of_models_that_took_turns():
    seen = [Status(residents=[resident("a", measured=60)]), Status(residents=[resident("b", measured=50)])]
    assert peak_bytes(seen) == {"host": 60}


def test_model_that_is_not_measured_yet_counts_with_its_estimate():
    assert peak_bytes([Status(residents=[resident("a", estimated=60), resident("b", measured=5)])]) == {"host": 65}
