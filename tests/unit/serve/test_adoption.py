from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from partage.config import Config
from partage.config_sections import RemoteConfig
from partage.hub.library import Library
from partage.models.shelves import Shelves
from partage.models.store import Store
from partage.serve.adoption import adopting

CONFIG = Config(home=Path("home"), remotes={"vllm": RemoteConfig(kind="openai", url="http://gpu.example.com:8000")})


def names(library: Library) -> list[str]:
    return [model.name for model in library.list()]


async def test_a_model_that_has_no_possible_name_is_left_out_and_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    asked = asyncio.Semaphore(0)

    async def offered_by(_: RemoteConfig) -> tuple[str, ...]:
        asked.release()
        return ("/models/Llama-3.1-8B", "Qwen/Qwen3-8B")

    monkeypatch.setattr("partage.serve.adoption.offered_by", offered_by)
    monkeypatch.setattr("partage.serve.adoption.EVERY_S", 0.0)
    library = Library(Shelves(Store(tmp_path)), {})
    async with asyncio.timeout(10), adopting(CONFIG, library):
        for _ in range(3):
            await asked.acquire()
        assert names(library) == ["Qwen/Qwen3-8B:latest"]
    assert len([one for one in caplog.records if "/models/Llama-3.1-8B" in one.getMessage()]) == 1


async def test_a_server_that_answers_rubbish_keeps_its_models_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    answers = iter([b'["far"]', b'["\xff"]', b"["])
    done = asyncio.Event()

    async def offered_by(_: RemoteConfig) -> tuple[str, ...]:
        answer = next(answers, None)
        if answer is None:
            done.set()
            raise TimeoutError
        return msgspec.json.decode(answer, type=tuple[str, ...])

    monkeypatch.setattr("partage.serve.adoption.offered_by", offered_by)
    monkeypatch.setattr("partage.serve.adoption.EVERY_S", 0.0)
    library = Library(Shelves(Store(tmp_path)), {})
    async with asyncio.timeout(10), adopting(CONFIG, library):
        await done.wait()
        assert names(library) == ["far:latest"]
