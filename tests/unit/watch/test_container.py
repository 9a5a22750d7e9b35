from __future__ import annotations

from dataclasses import replace

import pytest

from partage.clock import FakeClock
from partage.domain import Class, Client
from partage.hub.clients import Clients, KnownClient
from partage.watch.container import Container, container_from, identities, measured, succeeded
from partage.watch.docker import DockerWatch


def inspected(**changes: object) -> dict[str, object]:
    """GET /containers/ID/json, as Docker 27 answered, less what is not read."""
    answer: dict[str, object] = {
        "Id": "ab" * 32,
        "Name": "/rma-doc-processor",
        "RestartCount": 0,
        "State": {"Running": True, "OOMKilled": False, "Health": {"Status": "healthy"}},
        "Config": {
            "Image": "rma/doc:1",
            "Labels": {"partage.class": "batch", "partage.weight": "2", "com.example": "x"},
        },
        "HostConfig": {"Memory": 1 << 30},
        "NetworkSettings": {"Networks": {"bridge": {"IPAddress": "172.17.0.3", "GlobalIPv6Address": ""}}},
    }
    return answer | changes


def test_a_container_is_read_with_its_labels_and_addresses():
    container = container_from(inspected())
    assert (container.name, container.running, container.health) == ("rma-doc-processor", True, "healthy")
    assert container.addresses == ("172.17.0.3",)
    assert container.labels == (("class", "batch"), ("weight", "2"))
    assert container.memory_limit_bytes == 1 << 30


def test_an_engine_that_leaves_things_out_is_still_read():
    bare = container_from({"Id": "x", "Name": "/x", "NetworkSettings": None, "Config": {"Labels": None}, "State": {}})
    assert (bare.running, bare.addresses, bare.labels, bare.memory_limit_bytes) == (False, (), (), None)


def test_a_restart_after_a_kill_for_memory_is_dated_once():
    first = container_from(inspected())
    killed = container_from(inspected(State={"Running": True, "OOMKilled": True}, RestartCount=1))
    after = succeeded(first, killed, 50.0)
    assert (after.oom_killed_s, after.restarts_s) == (50.0, (50.0,))
    same = succeeded(after, killed, 60.0)
    assert (same.oom_killed_s, same.restarts_s) == (50.0, (50.0,))
    again = succeeded(same, replace(killed, restart_count=2), 70.0)
    assert (again.oom_killed_s, again.restarts_s) == (70.0, (50.0, 70.0))


def test_a_container_met_for_the_first_time_has_no_past():
    assert succeeded(None, container_from(inspected(RestartCount=7)), 50.0).restarts_s == ()


def test_memory_and_processor_are_reckoned_as_docker_stats_does():
    stats = {
        "memory_stats": {"usage": 500, "stats": {"inactive_file": 100}},
        "cpu_stats": {"cpu_usage": {"total_usage": 3000}, "system_cpu_usage": 20_000, "online_cpus": 4},
        "precpu_stats": {"cpu_usage": {"total_usage": 1000}, "system_cpu_usage": 16_000},
    }
    container = measured(container_from(inspected()), stats)
    assert (container.memory_bytes, container.cpu_cores) == (400, 2.0)
    bare = measured(container, {"memory_stats": {}, "cpu_stats": {}})
    assert (bare.memory_bytes, bare.cpu_cores) == (None, None)


CHAT = Client(name="chat", class_=Class.INTERACTIVE, weight=3.0, timeout_s=30.0)


def labelled(name: str, address: str, **labels: str) -> Container:
    return Container(id=name, name=name, addresses=(address,), labels=tuple(labels.items()))


def test_labels_make_a_client_of_an_address():
    found = identities(
        [
            labelled("web", "172.17.0.2", client="chat", weight="5"),
            labelled("docs", "172.17.0.3", **{"class": "batch"}),
            labelled("quiet", "172.17.0.4"),
        ],
        {"chat": CHAT},
        {},
    )
    assert found == {
        "172.17.0.2": replace(CHAT, weight=5.0),
        "172.17.0.3": Client(name="docs", class_=Class.BATCH),
    }


def test_a_configured_container_is_its_client_without_any_label():
    assert identities([labelled("rma-chat", "172.17.0.2")], {"chat": CHAT}, {"rma-chat": "chat"}) == {
        "172.17.0.2": CHAT
    }


@pytest.mark.parametrize("labels", [{"weight": "much"}, {"weight": "0"}, {"weight": "inf"}, {"class": "urgent"}])
def test_a_label_that_makes_no_sense_changes_nothing(labels: dict[str, str]):
    found = identities([labelled("web", "172.17.0.2", client="chat", **labels)], {"chat": CHAT}, {})
    assert found == {"172.17.0.2": CHAT}


def test_a_lease_is_a_size_or_nothing():
    assert labelled("train", "", lease="6GiB").lease_bytes == 6 << 30
    assert labelled("train", "", lease="plenty").lease_bytes is None
    assert labelled("train", "").lease_bytes is None


def test_the_hub_knows_a_learned_address_but_trusts_a_key_more():
    clients = Clients({"admin": KnownClient(client=Client(name="admin"), key="secret")}, FakeClock())
    clients.learn_addresses({"172.17.0.2": CHAT})
    assert clients.identify(api_key=None, address="172.17.0.2") == CHAT
    assert clients.identify(api_key="secret", address="172.17.0.2").name == "admin"
    clients.learn_addresses({})
    assert clients.identify(api_key=None, address="172.17.0.2").name == "172.17.0.2", "the container is gone"


async def test_without_a_socket_the_feature_is_off_with_one_line(caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO")
    async with DockerWatch("/nowhere/docker.sock", FakeClock()).running():
        pass
    assert [record.getMessage() for record in caplog.records if "Docker" in record.getMessage()] == [
        "no Docker socket at /nowhere/docker.sock: containers are known by their address only"
    ]
    caplog.clear()
    async with DockerWatch(None, FakeClock()).running():
        assert caplog.records == []
