from __future__ import annotations

import os
from pathlib import Path

import pytest

from partage.device.attribution import attribute
from partage.device.host_load import read_load
from partage.device.nvml import GpuProcess
from partage.device.processes import INITIAL_PID_NAMESPACE, Processes, container_of

ID = "0123456789abcdef" * 4
INNER = "fedcba9876543210" * 4


class ProcTree:
    """A /proc of the test's own."""

    def __init__(self, root: Path, *, namespace: str = INITIAL_PID_NAMESPACE) -> None:
        self.root = root
        (root / "self/ns").mkdir(parents=True)
        (root / "self/ns/pid").symlink_to(namespace)

    def add(self, pid: int, *, parent: int = 1, command: str = "python train.py", cgroup: str = "0::/user.slice\n"):
        directory = self.root / str(pid)
        directory.mkdir()
        (directory / "status").write_text(f"Name:\tpython\nPid:\t{pid}\nPPid:\t{parent}\nUid:\t0\t0\t0\t0\n")
        (directory / "cmdline").write_bytes(command.replace(" ", "\0").encode())
        (directory / "cgroup").write_text(cgroup)


def owners(tree: ProcTree, *pids: int) -> list[tuple[str, str]]:
    found = attribute(
        [GpuProcess(pid, 1 << 30) for pid in pids],
        Processes(tree.root),
        engines={100: "llama3.2:latest#7"},
        leases={200: "train"},
        containers={ID: "rma-doc-processor"},
    )
    return [(one.kind, one.name) for one in found]


@pytest.fixture
def tree(tmp_path: Path) -> ProcTree:
    return ProcTree(tmp_path)


def test_a_process_below_an_engine_of_ours_is_the_engines(tree: ProcTree):
    tree.add(100)
    tree.add(101, parent=100)
    assert owners(tree, 100, 101) == [("engine", "llama3.2:latest#7")] * 2


def test_a_process_below_a_lease_is_the_leases(tree: ProcTree):
    tree.add(200)
    tree.add(201, parent=200)
    assert owners(tree, 201) == [("lease", "train")]


def test_a_process_in_a_container_has_dockers_name_or_the_short_id(tree: ProcTree):
    tree.add(300, cgroup=f"0::/system.slice/docker-{ID}.scope\n")
    tree.add(301, cgroup=f"0::/system.slice/docker-{INNER}.scope\n")
    assert owners(tree, 300, 301) == [("container", "rma-doc-processor"), ("container", INNER[:12])]


def test_a_stranger_is_named_by_user_and_command(tree: ProcTree):
    tree.add(400)
    assert owners(tree, 400) == [("stranger", "root: python train.py")]


def test_without_the_hosts_pid_namespace_no_process_is_given_a_wrong_name(tmp_path: Path):
    tree = ProcTree(tmp_path, namespace="pid:[4026532277]")
    tree.add(100)
    assert Processes(tree.root).sees_host_pids() is False
    assert owners(tree, 100, 0) == [("unseen", "a process outside this container's view")] * 2


def test_an_id_that_the_driver_has_translated_is_believed_for_the_process_holds_a_gpu(tmp_path: Path):
    tree = ProcTree(tmp_path, namespace="pid:[4026532277]")
    tree.add(100)
    (tmp_path / "100/fd").mkdir()
    (tmp_path / "100/fd/3").symlink_to("/dev/nvidia0")
    assert owners(tree, 100) == [("engine", "llama3.2:latest#7")]


def test_a_process_that_ended_meanwhile_is_unseen(tree: ProcTree):
    assert owners(tree, 999)[0][0] == "unseen"


@pytest.mark.parametrize(
    "cgroup",
    [
        f"12:memory:/docker/{ID}\n11:cpu:/docker/{ID}\n",  # Docker, v1, cgroupfs
        f"1:name=systemd:/system.slice/docker-{ID}.scope\n",  # Docker, v1, systemd
        f"0::/system.slice/docker-{ID}.scope\n",  # Docker, v2, systemd
        f"0::/docker/{ID}\n",  # Docker, v2, cgroupfs
        f"0::/machine.slice/libpod-{ID}.scope/container\n",  # podman
        f"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podab12.slice/cri-containerd-{ID}.scope\n",
        f"11:memory:/kubepods/burstable/pod0a1b/{ID}\n",
        f"0::/default/{ID}\n",  # containerd's ctr
        f"0::/system.slice/docker-{INNER}.scope/docker/{ID}\n",  # Docker in Docker: the innermost
    ],
)
def test_the_container_is_read_from_every_engines_cgroup_path(cgroup: str):
    assert container_of(cgroup) == ID


@pytest.mark.parametrize(
    "cgroup", ["", "0::/\n", "0::/user.slice/user-1000.slice/session-2.scope\n", "0::/init.scope\n"]
)
def test_a_process_of_the_host_is_in_no_container(cgroup: str):
    assert container_of(cgroup) is None


def test_this_process_is_read_from_the_real_proc(tmp_path: Path):
    facts = Processes().facts(os.getpid())
    assert facts is not None
    assert facts.parent == os.getppid()
    assert facts.command
    load = read_load(tmp_path / "not" / "yet" / "there")
    assert load.disk_free_bytes
    assert load.total_bytes
