from __future__ import annotations

from partage.policy.accounts import Accounts


def test_late_correction_of_one_client_makes_no_flood_of_another() -> None:
    accounts = Accounts()
    large, small = accounts.of("large"), accounts.of("small")
    accounts.charge(large, 400.0, 0.0)
    accounts.charge(small, 4.0, 0.0)
    accounts.charge(large, -399.0, 600.0)
    accounts.charge(large, 0.1, 600.0)
    assert not accounts.floods(small)
