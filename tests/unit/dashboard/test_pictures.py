from __future__ import annotations

from typing import Any, TypeAlias, cast

import msgspec
import pytest

from partage.client.wire import ModelInfo
from partage.dashboard import activity
from partage.dashboard.leased import leases
from partage.dashboard.memory import memory_map, parts_of, state_text
from partage.dashboard.numbers import rate, seconds
from partage.dashboard.picture import Heard, draw
from partage.dashboard.rates import Rates
from partage.dashboard.residency import timeline
from partage.dashboard.shades import TONES, Shades
from partage.dashboard.status import (
    Alert,
    Alerts,
    Client,
    Container,
    Device,
    Lease,
    Machine,
    Parked,
    Pause,
    Queued,
    Resident,
    Share,
    Status,
    Stay,
    read_status,
)
from partage.errors import EngineError

Shown: TypeAlias = Any

GIB = 1 << 30
DEVICE = Device(id="GPU-0", kind="cuda", name="GPU", total_bytes=10 * GIB, budget_bytes=9 * GIB, strangers_bytes=GIB)
SHARE = Share(device="GPU-0", held_bytes=4 * GIB, weights_bytes=2 * GIB, kv_bytes=GIB, compute_bytes=GIB)
RESIDENT = Resident(engine="a#1", model="a", slots=2, serving=1, memory=[SHARE], measured_bytes=4 * GIB)


def only(status: Status) -> Shown:
    (device,) = memory_map(status, Shades())
    return device


def queued(client: str, class_: str = "normal", *, wait_s: float = 1.0, number: int = 1) -> Queued:
    return Queued(
        request=f"{client}{number}", model="a", client=client, class_=class_, position=number, waited_s=1.0,
        predicted_wait_s=wait_s,
    )  # fmt: skip


def test_a_bar_holds_models_by_part_leases_strangers_promises_free_and_reserve_and_is_whole():
    lease = Lease(name="training", device="GPU-0", bytes=GIB)
    device = msgspec.structs.replace(DEVICE, promised_bytes=GIB)
    shown = only(Status(devices=[device], residents=[RESIDENT], leases=[lease]))
    kinds = [segment["kind"] for segment in shown["segments"]]
    assert kinds == ["weights", "kv", "compute", "lease", "strangers", "promised", "free", "reserve"]
    assert sum(segment["share"] for segment in shown["segments"]) == pytest.approx(1.0)
    assert (shown["used"], shown["free"]) == ("7.00 GiB", "2.00 GiB")
    assert shown["words"] == "GPU: 7.00 GiB of 9.00 GiB in use, 1 model: a 4.00 GiB"


def test_a_lease_that_waits_takes_no_memory_and_is_listed_last_with_what_is_to_come():
    held = Lease(
        name="a", id="a-1", device="GPU-0", bytes=GIB, measured_bytes=2 * GIB, state="paused", paused_by_hand=True
    )
    waits = Lease(name="b", id="b-2", state="waiting", position=1, bytes=GIB, predicted_wait_s=90.0)
    status = Status(devices=[DEVICE], leases=[waits, held])
    assert [one["label"] for one in only(status)["segments"] if one["kind"] == "lease"] == ["Lease: a"]
    shown = cast("Any", leases(status))
    assert [(one["id"], one["state_text"], one["held"]) for one in shown] == [
        ("a-1", "paused by hand", True),
        ("b-2", "waits at place 1", False),
    ]
    assert (shown[0]["where"], shown[0]["used"], shown[0]["over"]) == ("1.00 GiB of GPU", "2.00 GiB used", True)
    assert (shown[1]["where"], shown[1]["used"]) == ("1.00 GiB of whichever device is free first", "")
    assert shown[1]["to_come"] == "about 1 min 30 s to come"


def test_models_parked_in_ram_have_a_bar_of_their_own_where_the_hub_can_park():
    parked = Resident(engine="p#1", model="p", state="parked", parked_bytes=GIB)
    shown: Shown = memory_map(
        Status(devices=[DEVICE], residents=[parked], parked=Parked(budget_bytes=4 * GIB, held_bytes=GIB)), Shades()
    )
    assert [one["name"] for one in shown] == ["GPU", "Parked in RAM"]
    assert (shown[1]["used"], shown[1]["free"], shown[1]["models"][0]["state_text"]) == (
        "1.00 GiB",
        "3.00 GiB",
        "in RAM",
    )
    assert sum(segment["share"] for segment in shown[1]["segments"]) == pytest.approx(1.0)
    assert shown[0]["models"] == []
    assert len(memory_map(Status(devices=[DEVICE]), Shades())) == 1


def test_what_is_paused_by_hand_is_told_from_what_is_paused_in_turn():
    turn, hand = (
        msgspec.structs.replace(RESIDENT, state="paused", how=how, paused_by_hand=bool(how)) for how in ("", "by hand")
    )
    texts = [only(Status(devices=[DEVICE], residents=[one]))["models"][0]["state_text"] for one in (turn, hand)]
    assert texts == ["paused, others have their turn", "paused by hand"]


def test_what_is_in_ram_in_mid_answer_is_told_from_what_only_waits_there():
    waits, silent = (msgspec.structs.replace(RESIDENT, state="parked", how=how) for how in ("", "in mid-answer"))
    assert [state_text(one) for one in (waits, silent)] == ["in RAM", "in RAM in mid-answer"]


def test_a_device_that_is_given_out_twice_over_still_has_a_bar():
    shown = only(Status(devices=[msgspec.structs.replace(DEVICE, strangers_bytes=20 * GIB)], residents=[RESIDENT]))
    assert sum(segment["share"] for segment in shown["segments"]) == pytest.approx(1.0)
    assert shown["free"] == "0 B"


def test_a_device_of_nothing_has_an_empty_bar():
    assert only(Status(devices=[Device(id="x")]))["segments"] == []


def test_parts_share_what_is_really_held_in_the_proportion_of_the_estimate():
    assert parts_of(Share(device="d", held_bytes=300, weights_bytes=100, kv_bytes=50)) == {"weights": 200, "kv": 100}
    assert parts_of(Share(device="d", held_bytes=300)) == {"weights": 300}


@pytest.mark.parametrize(
    ("more", "stays"),
    [
        ({"pinned": True}, "pinned"),
        ({"expires_in_s": None}, "until its memory is wanted"),
        ({"expires_in_s": 90.0, "serving": 0}, "1 min 30 s more if unused"),
        ({"expires_in_s": 90.0, "serving": 1}, "being used"),
    ],
)
def test_a_model_says_how_long_it_stays(more: dict[str, Any], stays: str):
    resident = msgspec.structs.replace(RESIDENT, **more)
    assert only(Status(devices=[DEVICE], residents=[resident]))["models"][0]["stays"] == stays


def test_queue_is_by_client_the_most_urgent_class_first_and_bounded():
    waiting = [queued("docs", "batch", number=n, wait_s=n) for n in range(20, 0, -1)] + [queued("chat", "interactive")]
    shown = cast("Any", activity.queue(Status(queue=waiting), Shades()))
    assert [(one["client"], one["count"], one["more"]) for one in shown] == [("chat", 1, 0), ("docs", 20, 12)]
    assert [one["position"] for one in shown[1]["requests"]] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert shown[0]["requests"][0]["passed"] == 0.5


def test_busy_clients_come_first_and_tell_what_was_not_served():
    clients = [Client(name="idle"), Client(name="busy", class_="batch", serving=1, failed=2, refused=1)]
    shown = cast("Any", activity.clients(Status(clients=clients), {"busy": [0.0, 5.0]}))
    assert [(one["name"], one["trouble"], one["rate"]) for one in shown] == [("busy", 3, "5.0"), ("idle", 0, "0")]
    assert (shown[0]["line"], shown[1]["line"]) == ("0.0,19.0 100.0,1.0", "")
    assert shown[1]["wait"] == "\u2013"


def test_timeline_has_a_lane_per_model_and_counts_what_left_and_what_failed():
    stays = [
        Stay(engine="a#1", model="a", devices={"GPU-0": GIB}, started_s=1.0, ready_s=3.5, ended_s=9.0, left="idle"),
        Stay(engine="b#2", model="b", started_s=2.0, ended_s=3.0, failed=True, left="no room"),
        Stay(engine="a#3", model="a", started_s=10.0),
    ]
    shown = cast("Any", timeline(Status(devices=[DEVICE], stays=stays), Shades()))
    assert [(lane["model"], len(lane["spans"])) for lane in shown["lanes"]] == [("a", 2), ("b", 1)]
    first = shown["lanes"][0]["spans"][0]
    assert (first["where"], first["load"], first["left"]) == ("1.00 GiB on GPU", "loaded in 2.5 s", "idle")
    assert (shown["swaps"], shown["failures"]) == (2, 1)


def test_timeline_shows_leases_apart_from_models_and_how_long_they_were_paused():
    pauses = [Pause(from_s=2.0, to_s=4.0), Pause(from_s=5.0, to_s=8.5, reason="hand")]
    stay = Stay(engine="lease:t-1#1", model="t-1", started_s=1.0, ready_s=1.0, ended_s=9.0, lease=True, pauses=pauses)
    lasting = Stay(engine="m#2", model="m", started_s=1.0, pauses=[Pause(from_s=2.0)])
    shown = cast("Any", timeline(Status(stays=[stay, lasting]), Shades()))
    lease, model = shown["lanes"]
    assert (lease["model"], lease["tone"], shown["swaps"]) == ("lease t-1", None, 0)
    assert (lease["spans"][0]["paused"], lease["spans"][0]["load"]) == (
        "paused for 5.5 s in 2 long pauses, by hand",
        "",
    )
    assert model["spans"][0]["paused"] == "paused now"


def test_what_the_hub_does_not_have_is_not_in_the_picture():
    picture = draw(Heard(status=Status()), Rates(), Shades(), unix_s=0.0)
    assert "alerts" not in picture.panels
    assert "containers" not in picture.panels
    without_docker = draw(Heard(status=Status(), alerts=Alerts(), machine=Machine()), Rates(), Shades(), unix_s=0.0)
    assert "alerts" in without_docker.panels
    assert "containers" not in without_docker.panels


def test_alerts_and_containers_are_told_with_their_times_and_limits():
    alerts = Alerts(
        standing=[Alert(rule="gpu_memory", message="full", raised_at=900.0)],
        history=[Alert(rule="thrash", message="loading", raised_at=100.0, cleared_at=940.0)],
    )
    container = Container(name="web", memory_bytes=GIB, memory_limit_bytes=2 * GIB, labels={"partage.client": "chat"})
    heard = Heard(status=Status(), alerts=alerts, machine=Machine(docker=True, containers=[container]))
    panels = cast("Any", draw(heard, Rates(), Shades(), unix_s=1000.0).panels)
    assert panels["alerts"]["standing"][0]["when"] == "for 1 min 40 s"
    assert panels["alerts"]["past"][0]["when"] == "over 1 min ago"
    assert (panels["containers"][0]["memory"], panels["containers"][0]["client"]) == ("1.00 GiB of 2.00 GiB", "chat")
    assert panels["containers"][0]["cores"] == "\u2013"


def test_models_in_memory_come_first():
    models = [ModelInfo(name="b", capabilities=frozenset({"chat"})), ModelInfo(name="a"), ModelInfo(name="z")]
    residents = [Resident(engine="z#1", model="z", pinned=True)]
    panels = cast(
        "Any", draw(Heard(status=Status(residents=residents), models=models), Rates(), Shades(), unix_s=0).panels
    )
    assert [(one["name"], one["state"]) for one in panels["models"]] == [("z", "ready"), ("a", ""), ("b", "")]
    assert panels["models"][0]["pinned"] is True


def test_a_model_keeps_its_colour_and_the_ninth_shares_one():
    shades = Shades()
    first = [shades.of(f"m{number}") for number in range(TONES + 1)]
    assert first == [*range(TONES), 0]
    assert shades.of("m3") == 3


def test_a_status_with_more_or_less_than_is_known_is_read_and_one_of_another_kind_is_our_error():
    read = read_status({"now_s": 1.0, "surprise": [], "clients": [{"name": "x", "ttft_s": {}}]})
    assert read.clients[0].ttft_s.p50 is None
    with pytest.raises(EngineError, match="not understood"):
        read_status({"devices": "none"})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "\u2013"),
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (125, "2 min 5 s"),
        (7260, "2 h 1 min"),
    ],
)
def test_seconds_are_written_short(value: float | None, text: str):
    assert seconds(value) == text


@pytest.mark.parametrize(("value", "text"), [(None, "\u2013"), (0, "0"), (7.25, "7.2"), (9.96, "10"), (1240.4, "1240")])
def test_rates_are_written_short(value: float | None, text: str):
    assert rate(value) == text
