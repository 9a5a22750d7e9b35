from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from anatomies import llama

from partage.domain import Capability, Footprint, LaunchSettings, Model, Placement
from partage.hub.footprints import Footprints
from partage.policy.actions import StartEngine
from partage.policy.events import EngineMeasured, EngineReady, TimePassed

MODEL = Model(
    name="small:latest",
    digest="d",
    path="",
    anatomy=llama(layers=16),
    capabilities=frozenset({Capability.COMPLETION}),
    size_bytes=1000,
)
PLACE = Placement(
    settings=LaunchSettings(context_tokens=4096, slots=1, threads=1),
    shares=(("gpu", Footprint(weights_bytes=1000, compute_bytes=200, overhead_bytes=50)),),
)


def seen(path: Path, news: list[str], *measured: int) -> Footprints:
    """After an engine of the model was ready, and weighed again for each further figure."""
    footprints = Footprints(path, lambda _: "d", news.append)
    start = StartEngine(engine="small#1", model=MODEL.name, placement=PLACE, reason="")
    footprints.decided(0.0, TimePassed(), [start])
    for number, size in enumerate(measured):
        told = (("gpu", size),)
        ready = EngineReady(engine="small#1", load_s=1.0, measured_bytes=told)
        footprints.decided(1.0, EngineMeasured(engine="small#1", measured_bytes=told) if number else ready, [])
    return footprints


def test_the_measured_figure_replaces_the_estimate_also_after_a_restart(tmp_path: Path):
    news: list[str] = []
    seen(tmp_path / "f.json", news, 1300, 1280)
    assert news == [MODEL.name] * 2
    again = Footprints(tmp_path / "f.json", lambda _: "d", news.append)
    (_, share), *_ = again.corrected(MODEL, PLACE).shares
    assert share.total_bytes == 1280
    assert share.overhead_bytes == 50, "the engine adds the driver's part to what it reports: it must not grow by that"


def test_another_model_other_settings_and_other_devices_keep_their_estimate(tmp_path: Path):
    footprints = seen(tmp_path / "f.json", [], 1300)
    assert footprints.corrected(replace(MODEL, digest="e"), PLACE) == PLACE
    longer = replace(PLACE, settings=replace(PLACE.settings, context_tokens=8192))
    assert footprints.corrected(MODEL, longer) == longer
    elsewhere = replace(PLACE, shares=(("gpu1", PLACE.shares[0][1]),))
    assert footprints.corrected(MODEL, elsewhere) == elsewhere


def test_what_is_known_already_is_no_news(tmp_path: Path):
    news: list[str] = []
    seen(tmp_path / "f.json", news, 1250)
    assert not news
    seen(tmp_path / "f.json", news, 1300)
    seen(tmp_path / "f.json", news, 1300)
    assert news == [MODEL.name]


def test_a_file_that_cannot_be_read_is_begun_anew(tmp_path: Path):
    (tmp_path / "f.json").write_text("{")
    assert Footprints(tmp_path / "f.json", lambda _: "d", print).corrected(MODEL, PLACE) == PLACE
