"""Each alert: the fault that raises it, and a healthy machine on which it is silent."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from partage.config import AlertsConfig
from partage.errors import ConfigError
from partage.watch.alerts import Alert, Alerts
from partage.watch.picture import ContainerNow, DeviceNow, EngineTrouble, LeaseNow, ModelNow, Picture
from partage.watch.rules import Rule, Sign, rules_of

GIB = 1 << 30
LIMITS = AlertsConfig()
GPU = DeviceNow(
    id="GPU-0",
    name="NVIDIA H100",
    kind="cuda",
    total_bytes=80 * GIB,
    used_bytes=60 * GIB,
    ledger_bytes=58 * GIB,
    engines_bytes=58 * GIB,
)
HOST = DeviceNow(id="host", name="host memory", kind="host", total_bytes=128 * GIB, used_bytes=120 * GIB)
WAITS = LeaseNow(id="train-2", leased_bytes=GIB, counted_bytes=GIB, waited_s=60.0, position=1)
HEALTHY = Picture(
    now_s=1000.0,
    devices=(GPU, HOST),
    models=(ModelNow(model="llama3.2:latest", on_gpu="whole"),),
    troubles=(EngineTrouble(at_s=900.0, model="llama3.2:latest", kind="crashed"),),
    deadlines={"rag": (0, 500), "chat": (1, 10)},
    loading_share=0.1,
    disk_free_bytes=300 * GIB,
    disk_total_bytes=1000 * GIB,
    containers=(ContainerNow(name="rag", restarts=(100.0, 900.0)), ContainerNow(name="old", running=False)),
    leases=(LeaseNow(id="train-1", leased_bytes=GIB, counted_bytes=GIB), WAITS),
    lost_leases=((-1000.0, "train-0"),),
    paused_s={"a#1": 1.5},
    pause_bound_s=4.0,
)


def oom(at_s: float) -> EngineTrouble:
    return EngineTrouble(at_s=at_s, model="llava:13b", kind="out_of_memory", detail="cudaMalloc failed: out of memory")


def crash(at_s: float) -> EngineTrouble:
    return EngineTrouble(at_s=at_s, model="llava:13b", kind="crashed", detail="segmentation fault")


FAULTS = {
    "gpu_memory": [(replace(HEALTHY, devices=(replace(GPU, used_bytes=75 * GIB),)), "94% full")],
    "gpu_lost": [
        (
            replace(HEALTHY, devices=(replace(GPU, lost=True, used_bytes=None),), gpu_error="Unknown Error"),
            "Unknown Error",
        )
    ],
    "gpu_error": [(replace(HEALTHY, xids=((990.0, "GPU-0", 79),)), "fallen off the bus")],
    "cpu_fallback": [
        (replace(HEALTHY, models=(ModelNow(model="llava:13b", on_gpu="not"),)), "on the CPU"),
        (replace(HEALTHY, models=(ModelNow(model="llava:13b", on_gpu="partly"),)), "some of its layers"),
        (replace(HEALTHY, gpus_unused=("NVIDIA H100",)), "no engine here can use it"),
    ],
    "out_of_memory": [(replace(HEALTHY, troubles=(oom(990.0),)), "cudaMalloc failed")],
    "does_not_fit": [(replace(HEALTHY, did_not_fit={"llava:70b": "needs 90 GiB of 79 GiB"}), "90 GiB of 79 GiB")],
    "container": [
        (replace(HEALTHY, containers=(ContainerNow(name="rag", oom_killed_s=990.0),)), "exit 137"),
        (replace(HEALTHY, containers=(ContainerNow(name="rag", restarts=(800.0, 900.0, 990.0)),)), "3 times"),
        (replace(HEALTHY, containers=(ContainerNow(name="rag", unhealthy=True),)), "health check"),
    ],
    "crash_loop": [(replace(HEALTHY, troubles=(crash(700.0), crash(800.0), crash(900.0))), "segmentation fault")],
    "queue_wait": [(replace(HEALTHY, overdue={"rag": 2}), "2 requests of rag")],
    "deadline_misses": [(replace(HEALTHY, deadlines={"rag": (6, 500)}), "6 of 500")],
    "thrash": [(replace(HEALTHY, loading_share=0.3), "30%")],
    "ledger_drift": [(replace(HEALTHY, devices=(replace(GPU, engines_bytes=68 * GIB),)), "10.0 GiB more")],
    "lease_over": [
        (replace(HEALTHY, leases=(LeaseNow(id="train-1", leased_bytes=GIB, counted_bytes=3 * GIB),)), "2.00 GiB more")
    ],
    "lease_lost": [(replace(HEALTHY, lost_leases=((990.0, "train-1"),)), "nothing was heard")],
    "lease_wait": [(replace(HEALTHY, leases=(replace(WAITS, waited_s=1200.0),)), "20 min, at place 1")],
    "pause_bound": [(replace(HEALTHY, paused_s={"a#1": 9.0}), "paused for 9 s")],
    "disk": [(replace(HEALTHY, disk_free_bytes=40 * GIB), "4.0%")],
}
CASES = [(name, picture, words) for name, cases in FAULTS.items() for picture, words in cases]


def signs(name: str, picture: Picture) -> list[Sign]:
    rule = next(rule for rule in rules_of(LIMITS) if rule.name == name)
    return [sign for sign in rule.check(picture, LIMITS) if sign.firm]


@pytest.mark.parametrize(("name", "picture", "words"), CASES, ids=[f"{name}-{words}" for name, _, words in CASES])
def test_a_fault_raises_its_alert_and_no_other(name: str, picture: Picture, words: str):
    fired = {rule.name: signs(rule.name, picture) for rule in rules_of(LIMITS)}
    assert {rule for rule, found in fired.items() if found} == {name}
    (sign,) = fired[name]
    assert words in sign.message
    assert sign.cure


@pytest.mark.parametrize("rule", rules_of(LIMITS), ids=lambda rule: rule.name)
def test_a_healthy_machine_raises_nothing(rule: Rule):
    assert list(rule.check(HEALTHY, LIMITS)) == []
    assert list(rule.check(Picture(now_s=0.0), LIMITS)) == [], "a machine of which nothing can be read"


def test_every_rule_has_a_fault_here():
    assert [rule.name for rule in rules_of(LIMITS)] == list(FAULTS)


def test_a_rule_can_be_switched_off_and_a_wrong_name_is_refused():
    assert "thrash" not in [rule.name for rule in rules_of(AlertsConfig(off=("thrash",)))]
    with pytest.raises(ConfigError, match=r"thresh.*gpu_memory"):
        rules_of(AlertsConfig(off=("thresh",)))


def memory_at(now_s: float, used: float) -> Picture:
    return replace(HEALTHY, now_s=now_s, devices=(replace(GPU, used_bytes=int(80 * GIB * used)),))


def changes(alerts: Alerts, *pictures: Picture) -> list[tuple[str, bool]]:
    found: list[Alert] = []
    for picture in pictures:
        found += alerts.look(picture)
    return [(alert.rule, alert.cleared_at is not None) for alert in found]


def make_alerts() -> Alerts:
    return Alerts(rules_of(LIMITS), LIMITS, lambda: 1_700_000_000.0)


def test_an_alert_is_raised_once_after_its_time_and_kept_until_it_is_well_below():
    alerts = make_alerts()
    assert changes(alerts, *(memory_at(second, 0.95) for second in range(60))) == []
    assert changes(alerts, *(memory_at(60 + second, 0.95) for second in range(60))) == [("gpu_memory", False)]
    assert changes(alerts, *(memory_at(120 + second, 0.88) for second in range(300))) == [], "hysteresis: still 88 %"
    assert changes(alerts, *(memory_at(420 + second, 0.5) for second in range(60))) == [("gpu_memory", True)]
    assert alerts.standing == {}
    assert [alert.rule for alert in alerts.history] == ["gpu_memory"]


def test_a_peak_shorter_than_the_rules_time_raises_nothing():
    alerts = make_alerts()
    assert changes(alerts, *(memory_at(second, 0.95 if second % 50 else 0.8) for second in range(300))) == []


def test_an_alert_that_comes_and_goes_every_second_is_raised_once():
    alerts = make_alerts()
    flapping = [replace(HEALTHY, now_s=float(s), xids=((float(s), "GPU-0", 79),) if s % 2 else ()) for s in range(100)]
    assert changes(alerts, *flapping) == [("gpu_error", False)]


def test_a_defective_rule_silences_only_itself():
    def broken(picture: Picture, limits: AlertsConfig) -> list[Sign]:
        raise ZeroDivisionError

    defective = Rule(name="broken", severity="warning", check=broken)
    alerts = Alerts([defective, *rules_of(LIMITS)], LIMITS, lambda: 0.0)
    assert changes(alerts, replace(HEALTHY, xids=((990.0, "GPU-0", 79),))) == [("gpu_error", False)]


def test_the_document_names_every_alert():
    text = (Path(__file__).parents[3] / "docs" / "alerts.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == list(FAULTS)
