from __future__ import annotations

from typing import cast

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Static

from partage.cli.top_rows import Picture, device_lines, rows_of
from partage.cli.top_screen import TopApp
from partage.errors import HubUnreachable
from partage.json_value import JsonObject, JsonValue

GIB = 1 << 30


def resident(model: str, size: int, *, pinned: bool = False) -> JsonObject:
    return {
        "engine": f"{model}#1",
        "model": model,
        "state": "ready",
        "devices": ["GPU-aabbccdd"],
        "ledger_bytes": size,
        "measured_bytes": None,
        "slots": 4,
        "serving": 1,
        "context_tokens": 4096,
        "pinned": pinned,
    }


def picture() -> Picture:
    return Picture(
        status={
            "devices": [
                {
                    "id": "GPU-aabbccdd",
                    "name": "NVIDIA H100 80GB HBM3",
                    "budget_bytes": 80 * GIB,
                    "residents_bytes": 40 * GIB,
                    "loading_bytes": 0,
                    "strangers_bytes": 8 * GIB,
                    "free_bytes": 32 * GIB,
                }
            ],
            "residents": [resident("llama3.2:latest", 4 * GIB), resident("llava:13b", 30 * GIB, pinned=True)],
            "clients": [
                {
                    "name": "chat",
                    "class": "interactive",
                    "weight": 2.0,
                    "queued": 1,
                    "serving": 1,
                    "done": 7,
                    "failed": 0,
                    "refused": 0,
                    "prompt_tokens": 100,
                    "output_tokens": 50,
                    "queued_s": {"p50": 0.1, "p95": 0.25, "max": 1.0},
                    "ttft_s": {},
                    "tokens_per_s": {"p95": 42.0},
                }
            ],
            "queue": [
                {
                    "request": "r1",
                    "model": "llava:13b",
                    "client": "chat",
                    "class": "interactive",
                    "position": 1,
                    "waited_s": 3.0,
                    "predicted_wait_s": 200.0,
                }
            ],
        },
        alerts={
            "standing": [
                {"rule": "thrash", "subject": "hub", "severity": "warning", "message": "30% loading", "cure": "pin one"}
            ]
        },
        machine={
            "gpus": [{"uuid": "GPU-aabbccdd", "utilisation_percent": 37, "temperature_c": 41, "power_w": None}],
            "containers": [],
        },
    )


HELD: JsonObject = {
    "id": "train-1", "name": "train", "state": "paused", "client": "night", "class": "batch", "device": "GPU-12345678",
    "bytes": 6 << 30, "measured_bytes": 5 << 30, "since_s": 90.0, "position": None, "predicted_wait_s": None,
}  # fmt: skip


class FakeHub:
    def __init__(self) -> None:
        self.orders: list[str] = []
        self.away = False
        self.more: JsonObject = {}

    async def ask(self) -> Picture:
        if self.away:
            raise HubUnreachable
        shown = picture()
        return Picture(status=shown.status | self.more, alerts=shown.alerts, machine=shown.machine)

    async def unload(self, model: str) -> None:
        self.orders.append(f"unload {model}")

    async def pin(self, model: str, *, pinned: bool) -> None:
        self.orders.append(f"pin {model} {pinned}")

    async def pause(self, model: str, *, paused: bool) -> None:
        self.orders.append(f"pause {model} {paused}")

    async def pause_lease(self, lease: str, *, paused: bool) -> None:
        self.orders.append(f"pause lease {lease} {paused}")


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub()


def column(app: TopApp, number: int = 0) -> list[str]:
    table = cast("DataTable[str]", app.query_one(DataTable))
    return [str(table.get_row_at(row)[number]) for row in range(table.row_count)]


def said(app: TopApp) -> str:
    return str(app.query_one("#detail", Static).content)


async def press(pilot: Pilot[None], *keys: str) -> None:
    await pilot.press(*keys)
    await pilot.pause()


async def test_everything_is_reached_from_the_keyboard_at_80_by_24(hub: FakeHub):
    app = TopApp(hub.ask, hub)
    async with app.run_test(size=(80, 24)) as pilot:
        assert column(app) == ["llama3.2:latest", "llava:13b"]
        for key, first in (("2", "chat"), ("3", "llava:13b"), ("4", "warning"), ("1", "llama3.2:latest")):
            await press(pilot, key)
            assert column(app)[0] == first
        await press(pilot, "tab")
        assert column(app) == ["chat"]
        await press(pilot, "4")
        assert said(app) == "30% loading - pin one"
        assert max(len(line) for line in device_lines(picture())) <= 78
        assert "37% 41°C" in str(app.query_one("#devices", Static).content)


async def test_rows_are_sorted_and_filtered(hub: FakeHub):
    app = TopApp(hub.ask, hub)
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "r")
        assert column(app) == ["llava:13b", "llama3.2:latest"]
        await press(pilot, "r", "s", "s", "s")
        assert column(app, 3) == ["4.00 GiB", "30.0 GiB"]
        await press(pilot, "slash", "l", "l", "a", "v", "a", "enter")
        assert column(app) == ["llava:13b"]
        await press(pilot, "escape")
        assert len(column(app)) == 2


async def test_a_model_is_unloaded_by_the_second_key_and_pinned_by_one(hub: FakeHub):
    app = TopApp(hub.ask, hub)
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "u")
        assert hub.orders == []
        assert "press u again to unload llama3.2:latest" in said(app)
        await press(pilot, "u", "down", "p")
        assert hub.orders == ["unload llama3.2:latest", "pin llava:13b False"]
        await press(pilot, "2", "u")
        assert "choose a model first" in said(app)


async def test_a_model_or_a_lease_is_paused_and_let_go_by_one_key(hub: FakeHub):
    app = TopApp(hub.ask, hub)
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "h")
        assert "llama3.2:latest computes nothing until h lets it go" in said(app)
        await press(pilot, "3", "h")
        assert "choose a model or a lease first" in said(app)
        hub.more = {"residents": [resident("llama3.2:latest", GIB) | {"paused_by_hand": True}], "leases": [HELD]}
        await app.refresh_picture()
        await press(pilot, "1", "h", "6", "h")
        assert hub.orders == [
            "pause llama3.2:latest True",
            "pause llama3.2:latest False",
            "pause lease train-1 True",
        ]


def test_what_is_paused_by_hand_or_parked_in_mid_answer_says_so_also_when_not_in_memory():
    residents: JsonValue = [
        resident("a", GIB) | {"state": "paused", "how": "by hand", "paused_by_hand": True},
        resident("b", GIB) | {"state": "paused", "how": ""},
        resident("c", 0) | {"state": "parked", "how": "in mid-answer", "devices": [], "parked_bytes": 2 * GIB},
    ]
    rows = rows_of(
        "models", Picture(status={"residents": residents, "paused_by_hand": ["a", "z"]}, alerts={}, machine={})
    )
    assert [(row.key, row.cells[1].text, row.cells[2].text, row.halted) for row in rows] == [
        ("a", "by hand", "GPU-aabb", True),
        ("b", "paused", "GPU-aabb", False),
        ("c", "in mid-answer", "RAM", False),
        ("z", "by hand", "-", True),
    ]
    assert rows[2].cells[3].text == "2.00 GiB"


async def test_a_hub_that_is_away_leaves_the_last_picture_and_says_so(hub: FakeHub):
    app = TopApp(hub.ask, hub)
    async with app.run_test(size=(80, 24)) as pilot:
        hub.away = True
        await app.refresh_picture()
        assert "hub: No hub answers" in said(app)
        assert len(column(app)) == 2
        hub.away = False
        await app.refresh_picture()
        assert "hub:" not in said(app)
        await press(pilot, "space")
        hub.away = True
        await app.refresh_picture()
        assert "hub:" not in said(app), "frozen: nothing is asked"


def test_what_was_not_measured_is_a_dash_and_an_empty_hub_has_empty_tables():
    assert [cell.text for cell in rows_of("models", picture())[0].cells][4] == "-"
    empty = Picture(status={}, alerts={}, machine={})
    assert [rows_of(tab, empty) for tab in ("models", "clients", "queue", "alerts", "containers", "leases")] == [[]] * 6
    assert device_lines(Picture(status={}, alerts={}, machine={"gpu_error": "Unknown Error"})) == [
        "NVML: Unknown Error"
    ]


def test_leases_are_a_table_of_those_held_and_those_that_wait():
    waits: JsonObject = HELD | {
        "id": "b-2",
        "state": "waiting",
        "device": "",
        "measured_bytes": None,
        "position": 1,
        "predicted_wait_s": 30.0,
    }
    rows = rows_of("leases", Picture(status={"leases": [HELD, waits]}, alerts={}, machine={}))
    texts = [[cell.text for cell in row.cells] for row in rows]
    assert texts[0][1:] == ["paused", "night", "batch", "GPU-1234", "6.00 GiB", "5.00 GiB", "90.0 s", "", "-"]
    assert texts[1][-4:] == ["-", "90.0 s", "1", "30.0 s"]
