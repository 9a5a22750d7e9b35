from __future__ import annotations

import pytest

from partage.demo.status import DeviceState, Resident, Status, all_residents, peak_bytes, read_status
from partage.errors import EngineError


def resident(model: str, *, estimated: int | None = None, measured: int | None = None) -> Resident:
    return Resident(model=model, devices=["host"], estimated_bytes=estimated, measured_bytes=measured)


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


def test_peak_is_the_fullest_reading_of_that_device():
    seen = [Status(devices=[DeviceState(id="a", residents_bytes=held), DeviceState(id="b")]) for held in (5, 60, 50)]
    assert peak_bytes("a", seen) == 60
    assert peak_bytes("b", seen) is None
