"""Who holds which lease, in a file: the next hub books that memory before it promises any, and holders come back to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import msgspec

from partage.domain import Client, RequestId
from partage.hub.kept import Kept
from partage.hub.lease import Lease, Wish

LEASES = "leases.json"
"""The file under PARTAGE_HOME."""


class KeptLease(msgspec.Struct, frozen=True, kw_only=True):
    id: RequestId
    client: Client
    wish: Wish
    """What was granted: that device, so much of it, to those processes."""


class KeptLeases:
    def __init__(self, path: Path) -> None:
        self._file = Kept(path, list[KeptLease], "leases")

    def read(self) -> list[KeptLease]:
        return self._file.read() or []

    def write(self, held: Iterable[Lease]) -> None:
        self._file.write([_kept(lease) for lease in held if lease.wish.beats])


def _kept(lease: Lease) -> KeptLease:
    granted = replace(
        lease.wish, class_=lease.class_, device=lease.device, bytes_=lease.bytes_, pids=lease.pids, max_wait_s=None
    )
    return KeptLease(id=lease.id, client=lease.client, wish=granted)
