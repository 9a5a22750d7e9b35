from __future__ import annotations

import pytest

from partage.errors import PullError
from partage.models.names import parse
from partage.models.registry import Reach, base_url


@pytest.mark.parametrize(
    ("name", "registry", "insecure", "url"),
    [
        ("llama3.2", "registry.example.com", False, "https://registry.example.com"),
        ("llama3.2", "http://registry.example.com:5000/", False, "http://registry.example.com:5000"),
        ("llama3.2", "localhost:5000", False, "http://localhost:5000"),
        ("llama3.2", "https://127.0.0.1:5000", False, "https://127.0.0.1:5000"),
        ("other.example.com/me/x", "registry.example.com", False, "https://other.example.com"),
        ("other.example.com/me/x", "", False, "https://other.example.com"),
        ("other.example.com/me/x", "", True, "http://other.example.com"),
        ("127.0.0.1:5000/me/x", "", False, "http://127.0.0.1:5000"),
        (
            "registry.example.com:5000/me/x",
            "http://registry.example.com:5000",
            False,
            "http://registry.example.com:5000",
        ),
    ],
)
def test_a_registry_is_spoken_to_securely_unless_it_is_here_or_asked_for(
    name: str, registry: str, insecure: bool, url: str
):
    assert str(base_url(parse(name), Reach(registry=registry, insecure=insecure))).rstrip("/") == url


def test_without_a_registry_it_is_said_how_to_name_one():
    with pytest.raises(PullError, match=r"PARTAGE_REGISTRY=HOST.*partage pull HOST/library/llama3\.2:latest"):
        base_url(parse("llama3.2"), Reach())


@pytest.mark.parametrize("registry", ["ftp://example.com", "https://", "http://[bad"])
def test_what_is_no_address_is_refused(registry: str):
    with pytest.raises(PullError, match="no address of a registry"):
        base_url(parse("x"), Reach(registry=registry))
