"""What looking costs the hub: sampling, metrics, alerts and journal at 50 requests/s in CPU time, and one scrape of /metrics."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from partage.clock import SystemClock
from partage.config import Config
from partage.config_sections import ClientConfig
from partage.device.fake_nvml import FakeGpu, FakeNvml
from partage.device.nvml import Nvml
from partage.domain import Class, Footprint, LaunchSettings, Placement
from partage.hub.journal import Journal
from partage.policy.actions import Action, Serve
from partage.policy.events import Demand, Event, ModelLearned, ModelProfile, RequestArrived, RequestFinished
from partage.policy.scheduler import Scheduler
from partage.policy.settings import PolicySettings
from partage.watch.gauges import Gauges
from partage.watch.look import Looker
from partage.watch.readings import Machine, Names
from partage.watch.sampler import Sample
from partage.watch.watch import Watch

MODELS, CLIENTS = 100, 200
REQUESTS_PER_S, SECONDS = 50, 60
CLASSES = list(Class)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="partage-bench-") as home:
        config = Config(home=Path(home), clients={f"client{n}": ClientConfig() for n in range(CLIENTS)})
        watch = Watch(config, SystemClock(), "bench")
        with Journal(Path(home, "hub.jsonl"), 64 << 20) as journal:
            observing_s = _cpu_s(lambda: _observe(watch, journal))
        sampling_s = _cpu_s(lambda: _sample(watch, Path(home)))
        parts = {"observers and journal, 50 requests/s": observing_s, "sampling and alerts, once a second": sampling_s}
        for name, cpu_s in parts.items():
            print(f"{name:40} {cpu_s / SECONDS:8.2%} of one core")
        print(f"{'together':40} {sum(parts.values()) / SECONDS:8.2%} of one core (goal < 2 %)")
        _scrapes(watch)


def _scrapes(watch: Watch) -> None:
    """Every client has used every model: no scrape can be larger."""
    gauges = Gauges(
        policy=Scheduler(PolicySettings()),
        metrics=watch.metrics,
        timeline=watch.timeline,
        latest=lambda: watch.sampler.latest,
        alerts=list,
        clock=SystemClock(),
        version="bench",
    )
    watch._gauges = gauges  # noqa: SLF001 running() would start threads
    for what, pairs in (("each client 3 models", 3), ("each client all models", MODELS)):
        for client in range(CLIENTS):
            for model in range(pairs):
                _serve(watch, f"client{client}", f"m{(client + model) % MODELS}:latest", client % 3)
        first_s = _cpu_s(watch.metrics_text)
        later: list[float] = []
        for _ in range(15):
            for number in range(REQUESTS_PER_S * 15):  # what happens between two scrapes
                _serve(watch, f"client{number % CLIENTS}", f"m{number % MODELS}:latest", number % 3)
            later.append(_cpu_s(watch.metrics_text))
        lines = watch.metrics_text().count(b"\n")
        print(
            f"scrape, {what:24} {statistics.median(later) * 1e3:6.1f} ms for {lines} lines (the first {first_s * 1e3:.0f} ms)"
        )


def _observe(watch: Watch, journal: Journal) -> None:
    settings = LaunchSettings(context_tokens=4096, slots=4, threads=2)
    placement = Placement(settings=settings, shares=(("host", Footprint(weights_bytes=1 << 30)),))
    for number in range(MODELS):
        profile = ModelProfile(model=f"m{number}:latest", placements=(placement,), load_s=1.0)
        _tell(watch, journal, ModelLearned(profile), ())
    for number in range(REQUESTS_PER_S * SECONDS):
        _serve(watch, f"client{number % CLIENTS}", f"m{number % MODELS}:latest", number % 3, journal)


def _serve(watch: Watch, client: str, model: str, class_: int, journal: Journal | None = None) -> None:
    demand = Demand(id="r", model=model, client=client, class_=CLASSES[class_], prompt_tokens=500, output_tokens=100)
    _tell(watch, journal, RequestArrived(demand), (Serve(request="r", engine="e#1"),))
    done = RequestFinished(
        request="r", prompt_tokens=500, output_tokens=100, served_s=2.0, first_output_s=0.4, decode_s=1.5
    )
    _tell(watch, journal, done, ())


def _tell(watch: Watch, journal: Journal | None, event: Event, actions: tuple[Action, ...]) -> None:
    now_s = time.monotonic()
    if journal is not None:
        journal.write(now_s, event, actions)
    for observer in watch.observers:
        observer.decided(now_s, event, actions)


def _sample(watch: Watch, home: Path) -> None:
    machine = Machine(home, nvml=Nvml(FakeNvml([FakeGpu(uuid=f"GPU-{n}") for n in range(4)])))
    looker = Looker((), Scheduler(PolicySettings()), watch.metrics, watch.timeline)
    for second in range(SECONDS):
        sample = Sample(float(second), machine.read(Names()))
        watch.history.take(sample)
        watch.alerts.look(looker.picture(sample))
        if second % 10 == 9:
            watch.history._write(*watch.history._taken())  # noqa: SLF001 what its task does


def _cpu_s(work: Callable[[], object]) -> float:
    began_s = time.process_time()
    work()
    return time.process_time() - began_s


if __name__ == "__main__":
    main()
