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


def test_what_is_taken_back_whole_leaves_nothing_to_divide_by() -> None:
    accounts = Accounts()
    everybody = [accounts.of(name) for name in ("one", "two", "three")]
    for account, cost_s in zip(everybody, (0.3, 0.2, 0.1), strict=True):
        accounts.charge(account, cost_s, 0.0)
    for account, cost_s in zip(everybody, (0.3, 0.2, 0.1), strict=True):
        accounts.charge(account, -cost_s, 0.0)
    assert [accounts.entitlement(account) for account in everybody] == [1.0, 1.0, 1.0]
