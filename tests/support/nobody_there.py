"""A network in which nobody answers: whether anybody was to be connected to is seen, and nothing leaves the machine."""

from __future__ import annotations

from typing import NoReturn

import pytest


def refuse_connections(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every connection of aiohttp's is refused; what was asked of those that were tried is added to the list."""
    tried: list[object] = []

    async def connect(*_: object, **asked: object) -> NoReturn:
        tried.append(asked)
        raise ConnectionRefusedError

    monkeypatch.setattr("aiohttp.connector.aiohappyeyeballs.start_connection", connect)
    return tried
