"""The Docker watch over a unix socket: a fake engine with recorded answers. On a real one: docker/test_followed.py."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from fake_docker import FakeDocker

from partage.clock import SystemClock
from partage.watch.container import identities
from partage.watch.docker import DockerWatch

pytestmark = pytest.mark.live


@pytest.fixture
def socket() -> Generator[Path]:
    with tempfile.TemporaryDirectory(
        prefix="partage-"
    ) as directory:  # short: a socket's path has 107 characters at most
        yield Path(directory, "docker.sock")


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 what happens in another process tells nobody
            await asyncio.sleep(0.02)


def watch(socket: Path) -> DockerWatch:
    return DockerWatch(str(socket), SystemClock(), retry_s=(0.05,))


async def test_containers_are_followed_and_docker_is_only_read(socket: Path):
    docker = FakeDocker()
    web = docker.add("web", "172.17.0.2", client="chat")
    async with docker.serving(socket):
        looking = watch(socket)
        async with looking.running():
            await until(lambda: looking.connected)
            assert [one.name for one in looking.containers.values()] == ["web"]
            assert list(identities(looking.containers.values(), {}, {})) == ["172.17.0.2"]

            docker.say("start", docker.add("docs", "172.17.0.3", **{"class": "batch"}))
            await until(lambda: len(looking.containers) == 2)

            docker.containers[web]["RestartCount"] = 1
            docker.say("oom", web)
            await until(lambda: bool(looking.containers[web].restarts_s))
            assert looking.containers[web].now().oom_killed_s is not None

            del docker.containers[web]
            docker.say("destroy", web)
            await until(lambda: web not in looking.containers)
    assert {line.split()[0] for line in docker.asked} == {"GET"}


async def test_a_docker_that_goes_away_and_comes_back_is_followed_again(socket: Path, caplog: pytest.LogCaptureFixture):
    docker = FakeDocker()
    docker.add("web", "172.17.0.2", client="chat")
    looking = watch(socket)
    async with docker.serving(socket), looking.running():
        await until(lambda: looking.connected)
        docker.hang_up()
        await until(lambda: not looking.connected)
        assert [one.name for one in looking.containers.values()] == ["web"], "the last picture stands"
        docker.add("docs", "172.17.0.3")
        await until(lambda: looking.connected and len(looking.containers) == 2)
    said = [record for record in caplog.records if "Docker does not answer" in record.getMessage()]
    assert len(said) == 1


async def test_an_order_while_docker_is_away_waits_for_its_return(socket: Path):
    docker = FakeDocker()
    web = docker.add("web", "172.17.0.2")
    looking = DockerWatch(str(socket), SystemClock(), retry_s=(0.5,))
    async with docker.serving(socket), looking.running():
        await until(lambda: looking.connected)
        docker.hang_up()
        await until(lambda: not looking.connected)
        docker.asked.clear()
        async with asyncio.timeout(10):
            await looking.unpause(web)
        assert any("unpause" in line for line in docker.asked)


@pytest.mark.parametrize("answer", [{"Id": ["no", "text"], "State": 7}, ["a", "list"], {"Config": "no labels"}])
async def test_what_answers_and_is_not_docker_ends_nothing(socket: Path, answer: object):
    docker = FakeDocker()
    web = docker.add("web", "172.17.0.2")
    whole, docker.containers[web] = docker.containers[web], answer  # type: ignore[assignment]
    looking = watch(socket)
    async with docker.serving(socket), looking.running():
        await until(lambda: sum("/json" in line for line in docker.asked) > 4)
        docker.containers[web] = whole
        await until(lambda: looking.connected)
