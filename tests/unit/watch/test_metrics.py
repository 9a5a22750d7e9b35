from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from partage.device.fake_nvml import FakeGpu, FakeNvml
from partage.device.host_load import HostLoad
from partage.device.nvml import Nvml
from partage.domain import Class, Client
from partage.errors import ModelNotFound, QueueFull
from partage.policy.actions import PauseEngine, Refuse, ResumeEngine, StopEngine
from partage.policy.events import Demand, EngineFailed, EngineGone, RequestArrived, RequestFinished
from partage.policy.views import ClientView, DeviceView, ResidentView
from partage.watch.families import MOST_STALE, Family, exposition
from partage.watch.metrics import MOST_NAMES
from partage.watch.readings import Reading

from .conftest import Observed, placement

DOCUMENT = Path(__file__).parents[3] / "docs" / "metrics.md"


def scraped(observed: Observed) -> dict[str, float]:
    """name{label="value",...} -> value, as Prometheus' own parser reads it."""
    observed.gauges.refresh()
    text = exposition([*observed.metrics.families(), *observed.gauges.families()]).decode()
    return {
        sample.name + "".join(f"|{value}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_an_answer_is_counted_with_its_times_and_tokens(observed: Observed):
    observed.learn("m:latest")
    observed.serve(Demand(id="r1", model="m:latest", client="chat", class_=Class.INTERACTIVE))
    values = scraped(observed)
    assert values["partage_requests_total|chat|m:latest|done"] == 1
    assert values["partage_prompt_tokens_total|chat"] == 7
    assert values["partage_prompt_tokens_cached_total|chat"] == 3
    assert values["partage_output_tokens_total|chat|m:latest"] == 10
    assert values["partage_queue_wait_seconds_sum|interactive|m:latest"] == pytest.approx(0.5)
    assert values["partage_queue_wait_seconds_bucket|interactive|m:latest|0.5"] == 1
    assert values["partage_queue_wait_seconds_bucket|interactive|m:latest|0.25"] == 0
    assert values["partage_time_to_first_token_seconds_sum|interactive|m:latest"] == pytest.approx(0.6)
    assert values["partage_time_per_output_token_seconds_sum|m:latest"] == pytest.approx(0.1)
    assert values["partage_time_per_output_token_seconds_count|m:latest"] == 1
    assert values["partage_queue_depth|normal|m:latest"] == 1


def test_a_deadline_that_was_missed_is_the_clients_and_models(observed: Observed):
    observed.learn("m:latest")
    for name, deadline_s in (("r1", 100.0), ("r2", 1.0)):
        observed.serve(Demand(id=name, model="m:latest", client="documents", deadline_at_s=deadline_s))
    observed.tell(RequestArrived(Demand(id="r3", model="m:latest", client="documents", deadline_at_s=500.0)))
    observed.tell(
        RequestArrived(Demand(id="r4", model="m:latest", client="chat")),
        Refuse(request="r3", kind="deadline", message="cannot be met"),
    )
    values = scraped(observed)
    assert values["partage_deadlines_total|documents|m:latest"] == 3
    assert values["partage_deadline_misses_total|documents|m:latest"] == 2
    assert values["partage_requests_total|documents|m:latest|refused"] == 1


def test_loads_and_their_ends_are_counted_by_cause(observed: Observed):
    observed.learn("m:latest")
    for engine, reason in (
        ("a", "room for other"),
        ("b", "nobody used it for its keep-alive"),
        ("c", "it was asked to leave"),
    ):
        observed.load("m:latest", engine)
        observed.tell(RequestFinished(request="x"), StopEngine(engine=engine, reason=reason))
        observed.tell(EngineGone(engine=engine))
    observed.load("m:latest", "d")
    observed.tell(EngineGone(engine="d", crashed=True))
    observed.load("m:latest", "e")
    observed.tell(EngineFailed(engine="e", reason="cudaMalloc failed", out_of_memory=True))
    values = scraped(observed)
    assert values["partage_loads_total|m:latest|ready"] == 5
    assert values["partage_loads_total|m:latest|out_of_memory"] == 1
    assert values["partage_load_seconds_sum|m:latest"] == pytest.approx(10.0)
    causes = {key.rpartition("|")[2]: value for key, value in values.items() if key.startswith("partage_unloads_total")}
    assert causes == {"evicted": 1, "idle": 1, "asked": 1, "crashed": 1}


def test_pauses_are_counted_with_their_time_by_reason_and_end_with_the_engine(observed: Observed):
    observed.learn("m:latest")
    observed.load("m:latest", "a")
    for reason in ("urgent", "share"):
        observed.tell(RequestFinished(request="x"), PauseEngine(engine="a", reason=reason))
        observed.clock.advance(1.5)
        observed.tell(RequestFinished(request="x"), ResumeEngine(engine="a"))
    observed.tell(RequestFinished(request="x"), PauseEngine(engine="a", reason="urgent"))
    observed.clock.advance(2.0)
    observed.tell(EngineGone(engine="a", crashed=True))
    values = scraped(observed)
    assert values["partage_engine_pauses_total|m:latest|urgent"] == 2
    assert values["partage_engine_paused_seconds_total|m:latest|urgent"] == pytest.approx(3.5)
    assert values["partage_engine_paused_seconds_total|m:latest|share"] == pytest.approx(1.5)


def test_refusals_are_counted_by_the_error_the_client_got(observed: Observed):
    observed.metrics.refused(Client(name="chat"), "m", QueueFull())
    observed.metrics.refused(Client(name="10.0.0.9"), "nobody", ModelNotFound("nobody"))
    values = scraped(observed)
    assert values["partage_refusals_total|chat|queue_full"] == 1
    assert values["partage_refusals_total|other|model_not_found"] == 1


def test_addresses_and_unknown_models_never_become_labels(observed: Observed):
    for number in range(MOST_NAMES + 50):
        observed.learn(f"m{number}:latest")
    for number in range(1000):
        observed.serve(Demand(id=f"r{number}", model=f"guess{number}", client=f"10.0.0.{number}"))
    observed.metrics.know_clients(f"c{number}" for number in range(10_000))
    values = scraped(observed)
    assert values["partage_requests_total|other|other|done"] == 1000
    assert observed.metrics.model_label(f"m{MOST_NAMES + 1}:latest") == "other"
    assert observed.metrics.client_label("c9999") == "other"
    assert len(values) < 200


def test_a_request_that_leaves_is_not_kept(observed: Observed):
    observed.learn("m:latest")
    observed.tell(RequestArrived(Demand(id="r1", model="m:latest", client="chat")))
    assert observed.metrics.waiting() == {("normal", "m:latest"): 1}
    observed.tell(RequestFinished(request="r1", outcome="cancelled"))
    assert observed.metrics.waiting() == {}
    assert scraped(observed)["partage_requests_total|chat|m:latest|cancelled"] == 1


def test_devices_ledger_and_shares_are_shown_as_they_are(observed: Observed):
    observed.learn("m:latest")
    survey = Nvml(FakeNvml([FakeGpu(throttles=0x4, ecc=None)])).read()
    observed.reading = Reading(survey=survey, load=HostLoad(cpu_percent=50.0), engine_bytes={"GPU-0": 1024})
    observed.policy.ledger = (
        DeviceView(
            device="GPU-0",
            capacity_bytes=80,
            strangers_bytes=1,
            residents_bytes=50,
            leases_bytes=0,
            loading_bytes=9,
            promised_bytes=0,
            free_bytes=20,
        ),
    )
    observed.policy.residents = (
        ResidentView(
            engine="e#1",
            model="m:latest",
            phase="ready",
            placement=placement("GPU-0", size_bytes=40),
            bytes_=(("GPU-0", 50),),
            serving=1,
            slots=2,
            gated=False,
            paused=False,
            pinned=False,
            last_used_s=0,
            expires_at_s=None,
        ),
    )
    observed.policy.clients = tuple(
        ClientView(name=name, class_=Class.NORMAL, weight=1, queued=0, serving=0, virtual_s=0, served_s=served_s)
        for name, served_s in (("chat", 3.0), ("10.0.0.1", 1.0), ("10.0.0.2", 1.5))
    )
    values = scraped(observed)
    assert values["partage_device_ledger_bytes|GPU-0|free"] == 20
    assert values["partage_engine_ledger_bytes|m:latest|GPU-0"] == 50
    assert values["partage_engine_estimated_bytes|m:latest|GPU-0"] == 40
    assert values["partage_device_engines_bytes|GPU-0"] == 1024
    assert values["partage_device_power_watts|GPU-0"] == 118.5
    assert values["partage_device_throttled|GPU-0|power cap"] == 1
    assert values["partage_client_gpu_seconds_total|other"] == 2.5
    assert "partage_device_ecc_uncorrected_errors|GPU-0" not in values

    observed.policy.clients = ()
    observed.policy.residents = ()
    values = scraped(observed)
    assert values["partage_client_gpu_seconds_total|chat"] == 3.0, "a counter never falls"
    assert "partage_engine_ledger_bytes|m:latest|GPU-0" not in values, "what is gone is not shown"


def test_a_label_is_escaped_as_prometheus_reads_it():
    family = Family(name="x_total", help="An x.", labels=("name",))
    family.add('a"b\\c\nd')
    (read,) = text_string_to_metric_families(family.text())
    assert read.samples[0].labels == {"name": 'a"b\\c\nd'}


def test_every_metric_has_its_line_in_the_document_and_nothing_else_has(observed: Observed):
    families = [*observed.metrics.families(), *observed.gauges.families()]
    text = DOCUMENT.read_text(encoding="utf-8")
    missing = [
        line
        for family in families
        if (line := f"| `{family.name}` | {family.kind} | {', '.join(family.labels)} | {family.help} |") not in text
    ]
    assert missing == []
    assert set(re.findall(r"^\| `(partage_\w+)`", text, re.MULTILINE)) == {family.name for family in families}


def test_names_follow_prometheus_conventions(observed: Observed):
    for family in (*observed.metrics.families(), *observed.gauges.families()):
        assert re.fullmatch(r"partage_[a-z_]+", family.name)
        assert family.name.endswith("_total") == (family.kind == "counter") or family.name.endswith(
            "memory_total_bytes"
        ), family
        assert not re.search(r"_(ms|mb|gb|percent|mhz)\b", family.name)


def test_a_burst_leaves_a_scrape_only_a_few_lines_to_render(monkeypatch: pytest.MonkeyPatch):
    family = Family(name="x_total", help="An x.", labels=("name",))
    for number in range(10 * MOST_STALE):
        family.add(str(number))
    rendered: list[tuple[str, ...]] = []
    render = Family._render
    monkeypatch.setattr(Family, "_render", lambda self, labels: rendered.append(labels) or render(self, labels))  # type: ignore[func-returns-value]
    text = family.text()
    assert len(rendered) <= MOST_STALE
    assert all(f'x_total{{name="{number}"}} 1.0\n' in text for number in range(10 * MOST_STALE))
