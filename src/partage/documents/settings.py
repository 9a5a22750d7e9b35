"""What the document service can be told: where, with whom, how much of the machine, and how large a document may be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on one document; what is over them is refused with a message that names the bound."""

    upload_bytes: int = 64 * MIB
    pages: int = 300
    image_pixels: int = 100_000_000
    """Of one picture as its header declares it: above, it is taken for a decompression bomb."""
    render_pixels: int = 12_000_000
    """Of one page as it is given to the recogniser; larger ones are scaled down."""
    page_s: float = 90.0
    """Reading one page may take so long; then its process is killed."""
    memory_bytes: int = 4 * 1024 * MIB
    """Address space of one reading process; an ordinary scan takes 1.4 GiB of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentSettings:
    data_dir: Path
    """Uploads in work and finished results; made when missing."""
    hub_url: str = "http://127.0.0.1:11434"
    api_key: str | None = None
    """For the hub."""
    vision_model: str | None = None
    """Reads pages without a text layer; None: a vision model that the hub has, "": never one."""
    host: str = "127.0.0.1"
    port: int = 8101
    workers: int = 1
    """Processes that parse and recognise, one thread each."""
    niceness: int = 10
    """So that the chat keeps its speed."""
    worker_idle_s: float = 120.0
    """An idle process goes after so long and gives its memory back."""
    timeout_s: float = 120.0
    kept_jobs: int = 500
    kept_s: float = 7 * 24 * 3600.0
    waiting_jobs: int = 64
    """More than so many unfinished jobs are refused for now."""
    limits: Limits = Limits()
