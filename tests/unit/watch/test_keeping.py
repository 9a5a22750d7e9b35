"""What is kept and passed on: samples, the day's history, notifications."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pynvml
import pytest

from partage.clock import FakeClock
from partage.device.fake_nvml import FakeGpu, FakeNvml
from partage.device.host_load import HostLoad
from partage.device.nvml import Nvml
from partage.domain import Client, Device
from partage.errors import CannotFit, ConfigError
from partage.policy.actions import StartEngine
from partage.policy.events import Demand, EngineReady, RequestArrived, RequestFinished
from partage.watch.alerts import Alert
from partage.watch.history import KEPT_S, History, rows_of
from partage.watch.look import Looker
from partage.watch.notify import MOST_WAITING, Notifier, targets_of
from partage.watch.readings import Machine, Names, Reading
from partage.watch.sampler import KEPT_SAMPLES, Sample, Sampler

from .conftest import Observed, placement

GIB = 1 << 30
ALERT = Alert(rule="thrash", subject="hub", severity="warning", message="loading", cure="pin one", raised_at=100.0)


def reading(used: int | None = 2 * GIB, percent: float = 50.0) -> Reading:
    gpu = FakeGpu() if used is None else FakeGpu(used_bytes=used)
    survey = Nvml(FakeNvml([gpu])).read()
    return Reading(survey=survey, load=HostLoad(cpu_percent=percent, total_bytes=10, available_bytes=4))


def test_an_hour_of_samples_is_kept_and_each_is_passed_on():
    clock = FakeClock()
    sampler = Sampler(lambda _: Reading(), Names, clock)
    seen: list[float] = []
    sampler.listeners = [lambda sample: seen.append(sample.at_s)]
    for _ in range(KEPT_SAMPLES + 10):
        clock.advance(1)
        sampler.take(Reading())
    assert len(sampler.samples) == KEPT_SAMPLES
    assert seen[-1] == sampler.samples[-1].at_s == KEPT_SAMPLES + 10


async def test_a_machine_that_cannot_be_read_this_second_is_read_the_next(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("partage.watch.sampler.EVERY_S", 0.0)
    answers = iter([RuntimeError("NVML went away"), reading(), reading()])

    def read(names: Names) -> Reading:
        answer = next(answers, reading())
        if isinstance(answer, Exception):
            raise answer
        return answer

    def defective(sample: Sample) -> None:
        raise ZeroDivisionError

    sampler = Sampler(read, Names, FakeClock())
    arrived = asyncio.Event()
    sampler.listeners = [defective, lambda _: arrived.set()]
    async with asyncio.timeout(10), sampler.running():
        await arrived.wait()
    assert sampler.holdings()[0].device == "GPU-0"


def test_a_reading_names_who_holds_the_gpu(tmp_path: Path):
    machine = Machine(tmp_path, nvml=Nvml(FakeNvml([FakeGpu(processes=((999_999_999, GIB),))])))
    found = machine.read(Names())
    assert [owner.kind for owner in found.owners["GPU-0"]] == ["unseen"]
    assert "GPU-0" not in found.engine_bytes, "what cannot be attributed is not counted as nothing"
    assert found.engine_bytes["host"] == 0


def test_ten_seconds_become_one_row_per_device():
    samples = [Sample(float(n), reading(used=n * GIB, percent=10.0 * n)) for n in range(1, 4)]
    host, gpu = rows_of(samples, at=100)
    assert (host.device, host.utilisation, host.used_bytes, host.temperature_c) == ("host", pytest.approx(0.2), 6, None)
    assert (gpu.device, gpu.used_bytes, gpu.power_w, gpu.engines_bytes) == ("GPU-0", 3 * GIB, 118.5, None)


async def test_the_history_outlives_the_hub_and_forgets_after_a_day(tmp_path: Path):
    now = 1_700_000_000.0
    path = tmp_path / "history.sqlite"
    history = History(path, lambda: now)
    async with history.running():
        history.take(Sample(1.0, reading()))
        history.note([ALERT])
    again = History(path, lambda: now)
    assert [row.device for row in again.rows(now - 60)] == ["GPU-0", "host"]
    (alert,) = again.past_alerts()
    assert (alert.rule, alert.cleared_at) == ("thrash", now), "what stood when the hub ended is over"
    later = History(path, lambda: now + KEPT_S + 60)
    async with later.running():
        later.take(Sample(1.0, reading()))
    assert [row.at for row in later.rows(0)] == [int(now + KEPT_S + 60)] * 2


async def test_a_history_that_cannot_be_written_ends_itself_only(tmp_path: Path):
    path = tmp_path / "history.sqlite"
    path.write_bytes(b"this is no database" * 100)
    history = History(path, lambda: 0.0)
    async with history.running():
        history.take(Sample(1.0, reading()))
    assert history.rows(0) == []
    assert history.past_alerts() == []


async def test_a_history_goes_on_once_its_file_can_be_written_again(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Somebody looked into it with a program that locks it, or the disk was full for a while."""
    path = tmp_path / "history.sqlite"
    path.write_bytes(b"this is no database" * 100)
    history = History(path, lambda: 1000.0)
    for can_be_written in (False, False, True):
        if can_be_written:
            path.unlink()
        async with history.running():
            history.take(Sample(1.0, reading()))
    assert [row.at for row in history.rows(0)] == [1000, 1000]
    assert len([one for one in caplog.records if "no history" in one.getMessage()]) == 1


def test_the_history_has_a_bound(tmp_path: Path):
    history = History(tmp_path / "history.sqlite", lambda: 0.0)
    with history._open() as file:
        (pages,) = file.execute("PRAGMA max_page_count").fetchone()
        (page_bytes,) = file.execute("PRAGMA page_size").fetchone()
    assert pages * page_bytes <= 64 << 20
    assert isinstance(file, sqlite3.Connection)


class Service:
    def __init__(self) -> None:
        self.told: list[Alert] = []
        self.down = False

    def __call__(self, alert: Alert) -> None:
        if self.down:
            raise OSError("no route")
        self.told.append(alert)


def test_what_could_not_be_sent_is_sent_later_and_the_others_are_told_at_once():
    clock, dead, alive = FakeClock(), Service(), Service()
    dead.down = True
    notifier = Notifier([("mail", dead), ("webhook", alive)], clock.now_s)
    notifier.tell(ALERT)
    notifier.send_due()
    assert (dead.told, alive.told, notifier.unsent()) == ([], [ALERT], 1)
    dead.down = False
    notifier.send_due()
    assert dead.told == [], "not before its pause is over"
    clock.advance(6)
    notifier.send_due()
    assert (dead.told, notifier.unsent()) == ([ALERT], 0)


def test_a_service_that_is_dead_for_days_holds_a_bounded_number_of_messages():
    dead = Service()
    dead.down = True
    notifier = Notifier([("mail", dead)], FakeClock().now_s)
    for _ in range(10 * MOST_WAITING):
        notifier.tell(ALERT)
    notifier.send_due()
    assert notifier.unsent() == MOST_WAITING


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # one of apprise's plugins
def test_only_the_kind_of_an_address_is_ever_named():
    names = [
        name
        for name, _ in targets_of(
            ["ntfys://user:secret@example.com/topic", "mailtos://user:password@example.com"], None
        )
    ]
    assert names == ["ntfys", "mailtos"]


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # one of apprise's plugins
@pytest.mark.parametrize(
    ("address", "named"),
    [("tgram://secret/", "tgram://"), ("nosuch://secret@example.com", "nosuch://"), ("secret", "this text")],
)
def test_an_address_that_apprise_cannot_send_to_is_refused_at_the_start_and_not_repeated(
    address: str, named: str, caplog: pytest.LogCaptureFixture
):
    with pytest.raises(ConfigError, match=r"alerts\.notify\[1\]") as wrong:
        targets_of(["ntfys://topic", address], None)
    assert named in wrong.value.message
    assert "secret" not in wrong.value.message + caplog.text


def test_a_webhook_that_is_no_web_address_is_refused_at_the_start():
    with pytest.raises(ConfigError, match=r"alerts\.webhook"):
        targets_of([], "file:///etc/passwd")


GPU = Device(id="GPU-0", kind="cuda", name="NVIDIA H100", total_bytes=80 * GIB)


def test_a_gpu_that_was_there_and_is_not_any_more_is_lost_with_the_reason(observed: Observed):
    library = FakeNvml([FakeGpu()])
    nvml = Nvml(library)
    looker = Looker([GPU], observed.policy, observed.metrics, observed.timeline)
    before = looker.picture(Sample(1.0, Reading(survey=nvml.read())))
    library.fails = pynvml.NVML_ERROR_UNKNOWN
    after = looker.picture(Sample(2.0, Reading(survey=nvml.read())))
    assert [device.lost for device in before.devices] == [False]
    assert [device.lost for device in after.devices] == [True]
    assert after.gpu_error == "Unknown Error"


def test_the_share_of_time_spent_loading_counts_overlapping_loads_once(observed: Observed):
    observed.clock.advance(600)
    observed.tell(
        RequestArrived(Demand(id="r1", model="a", client="chat")),
        *(StartEngine(engine=name, model=name, placement=placement(), reason="fits") for name in "ab"),
    )
    observed.clock.advance(60)
    for name in "ab":
        observed.tell(EngineReady(engine=name, load_s=60))
    observed.clock.advance(540)
    assert observed.timeline.loading_share(observed.clock.now_s(), 600.0) == pytest.approx(0.1)


def test_what_did_not_fit_is_remembered_with_its_arithmetic(observed: Observed):
    observed.clock.advance(50)
    observed.tell(RequestFinished(request="x"))
    observed.timeline.refused(Client(name="chat"), "llava:70b", CannotFit("needs 90 GiB, has 79 GiB"))
    assert observed.timeline.did_not_fit(40.0) == {"llava:70b": "needs 90 GiB, has 79 GiB"}
    assert observed.timeline.did_not_fit(60.0) == {}
