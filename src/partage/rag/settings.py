"""What the RAG service can be told; every field has a default but the place for its data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class RagSettings:
    data_dir: Path
    """Holds the LanceDB tables; made when missing."""
    host: str = "127.0.0.1"
    port: int = 8102
    hub_url: str = "http://127.0.0.1:11434"
    api_key: str | None = None
    documents_url: str = "http://127.0.0.1:8101"
    """The document service, which reads PDF and images."""
    embed_model: str = "all-minilm:22m"
    chat_model: str | None = None
    """None: the largest that the hub has."""
    query_timeout_s: float = 30.0
    embed_timeout_s: float = 10.0
    """For the embedding of one question, for which a person waits."""
    ingest_timeout_s: float = 120.0
    """For each batch of a document's chunks: behind other people's work it may wait longer than a question may."""
    documents_timeout_s: float = 900.0
    """For the document service to read one file."""
    embed_batch: int = 16
    """Inputs per request when a document is indexed: small, so that the hub can serve others in between."""
    parallel_ingests: int = 2
    max_file_bytes: int = 100 << 20
    max_text_characters: int = 4_000_000
    tiny_parameters: float = 1e9
    """A chat model with fewer weights than this is not trusted to write the answer alone."""
