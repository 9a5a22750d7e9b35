from __future__ import annotations

import pytest

from partage.public_addresses import is_loopback


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("10.0.0.7", False),
        ("example.com", False),
        ("", False),
    ],
)
def test_this_machine_is_told_from_others_without_asking_what_a_name_means(host: str, *, here: bool):
    assert is_loopback(host) is here
