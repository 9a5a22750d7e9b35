"""Which class serves which kind of engine; each is imported when it is first asked for."""

from __future__ import annotations

from typing import assert_never

from partage.engine.base import Engine
from partage.engine.spec import EngineSpec, LaunchSpec, RemoteSpec
from partage.engine.workers import Workers


def make_engine(spec: EngineSpec, workers: Workers | None = None) -> Engine:
    """`workers`: where engines that run in a child of ours get it; None: a new one for each."""
    match spec:
        case LaunchSpec():
            from partage.engine.llamacpp import LlamaCpp  # noqa: PLC0415

            return LlamaCpp(spec, workers)
        case RemoteSpec(kind="ollama"):
            from partage.engine.ollama_remote import OllamaRemote  # noqa: PLC0415

            return OllamaRemote(spec)
        case RemoteSpec():
            from partage.engine.openai_remote import OpenAIRemote  # noqa: PLC0415

            return OpenAIRemote(spec)
        case _:
            assert_never(spec)
