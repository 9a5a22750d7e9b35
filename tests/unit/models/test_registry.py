from __future__ import annotations

import contextlib

import pytest
from nobody_there import refuse_connections

from partage.errors import Forbidden, PullError
from partage.models.connection import ConnectionLost
from partage.models.names import parse
from partage.models.reach import Reach
from partage.models.registry import base_url, open_registry


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


async def asked(address: str, reach: Reach, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether anybody was to be connected to. Raises Forbidden."""
    connected = refuse_connections(monkeypatch)
    with contextlib.suppress(ConnectionLost):
        async with open_registry(parse(f"{address}/me/x"), reach) as registry:
            await registry.manifest("latest")
    return bool(connected)


NEIGHBOURS = ["127.0.0.1:5000", "169.254.169.254", "10.0.0.7:5000", "localhost"]


@pytest.mark.parametrize("address", NEIGHBOURS)
async def test_a_client_of_the_hub_cannot_have_it_ask_its_own_machine_or_network(
    address: str, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(Forbidden, match="private_registries"):
        await asked(address, Reach(private=frozenset()), monkeypatch)
    assert await asked(address, Reach(), monkeypatch), "who sits there may"


@pytest.mark.parametrize(
    "reach",
    [
        Reach(private=frozenset({"10.0.0.7:5000"})),
        Reach(private=frozenset({"10.0.0.7"})),
        Reach(registry="http://10.0.0.7:5000", private=frozenset()),
    ],
)
async def test_a_neighbour_that_the_configuration_names_is_asked(reach: Reach, monkeypatch: pytest.MonkeyPatch):
    assert await asked("10.0.0.7:5000", reach, monkeypatch)
    with pytest.raises(Forbidden, match=r"10\.0\.0\.8:5000"):
        await asked("10.0.0.8:5000", reach, monkeypatch)


async def test_a_public_registry_is_asked(monkeypatch: pytest.MonkeyPatch):
    assert await asked("93.184.215.14", Reach(private=frozenset()), monkeypatch)
