"""The support archive: what somebody else needs to see what is wrong here, without the secrets."""

from __future__ import annotations

import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from importlib.metadata import distributions
from pathlib import Path

from partage.doctor.redact import redacted
from partage.json_value import JsonValue

TAIL_BYTES = 1 << 20
MOST_LOGS = 10


def write_bundle(
    target: Path,
    *,
    home: Path,
    config_file: Path | None,
    documents: Mapping[str, JsonValue],
    secrets: Sequence[str],
) -> list[str]:
    """A .tar.gz that only this user may read; the names in it. `documents` are by name: JSON values, or texts as they are.

    Raises OSError.
    """
    texts = {name: one if isinstance(one, str) else json.dumps(one, indent=1) for name, one in documents.items()}
    texts["versions.txt"] = _versions()
    if config_file is not None:
        texts["partage.yaml"] = _tail(config_file)
    texts["journal.jsonl"] = _tail(home / "journal" / "hub.jsonl")
    for log in sorted((home / "logs").glob("*.log"))[:MOST_LOGS]:
        texts[f"logs/{log.name}"] = _tail(log)
    target.touch(mode=0o600)
    target.chmod(0o600)
    with tarfile.open(target, "w:gz") as archive:
        for name, text in texts.items():
            data = redacted(text, secrets).encode()
            entry = tarfile.TarInfo(f"partage-doctor/{name}")
            entry.size, entry.mode = len(data), 0o600
            archive.addfile(entry, io.BytesIO(data))
    return list(texts)


def _versions() -> str:
    packages = sorted(f"{one.metadata['Name']}=={one.version}" for one in distributions())
    return "\n".join([platform.platform(), f"python {platform.python_version()}", *packages])


def _tail(path: Path) -> str:
    """The end of the file, from the beginning of a line; empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            data = file.read()
    except OSError:
        return ""
    whole = data if size <= TAIL_BYTES else data.partition(b"\n")[2]
    return whole.decode("utf-8", "replace")
