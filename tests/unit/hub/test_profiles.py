from __future__ import annotations

from dataclasses import replace

import pytest
from anatomies import llama

from partage.config import HubConfig, ModelConfig
from partage.domain import Capability, Device, Footprint, Model
from partage.errors import ConfigError
from partage.hub.profiles import Profiles

GIB = 1 << 30
DEVICES = (
    Device(id="GPU-aa", kind="cuda", name="a", index=0, total_bytes=24 * GIB),
    Device(id="GPU-bb", kind="cuda", name="b", index=1, total_bytes=8 * GIB),
    Device(id="host", kind="host", name="host", total_bytes=32 * GIB, cores=8),
)
MODEL = Model(
    name="small:latest",
    digest="d",
    path="",
    anatomy=llama(layers=16),
    capabilities=frozenset({Capability.COMPLETION}),
    size_bytes=GIB,
)


def devices_of(**entry: object) -> list[tuple[str, ...]]:
    profiles = Profiles(DEVICES, HubConfig(), {"small": ModelConfig(**entry)}, default_threads=4)  # pyright: ignore[reportArgumentType]
    news = profiles.learn(MODEL, None)
    assert news is not None
    return [tuple(device for device, _ in one.shares) for one in news.profile.placements]


def test_a_model_is_placed_on_the_gpu_of_its_entry():
    assert devices_of()[0] == ("GPU-aa",)
    assert devices_of(gpu=1)[0] == ("GPU-bb",)
    assert devices_of(gpu="GPU-b")[0] == ("GPU-bb",)
    assert set(devices_of(gpu="none")) == {("host",)}


def test_a_measured_footprint_is_told_from_the_next_request_on_as_far_as_the_device_has_it():
    profiles = Profiles(DEVICES, HubConfig(), {}, default_threads=4)
    assert profiles.learn(MODEL, None) is not None
    assert profiles.learn(MODEL, None) is None
    for size, told in ((20 * GIB, 20 * GIB), (25 * GIB, None)):
        profiles.corrected = lambda _, one, size=size: replace(
            one, shares=((one.shares[0][0], Footprint(kv_bytes=size)),)
        )
        profiles.outdated(MODEL.name)
        news = profiles.learn(MODEL, None)
        assert news is not None
        assert (news.profile.placements[0].total_bytes == told) == (told is not None)


def test_layers_of_its_entry_are_obeyed():
    assert set(devices_of(gpu_layers=0)) == {("host",)}
    assert devices_of(gpu_layers=4)[0] == ("GPU-aa", "host")


def test_a_gpu_that_is_not_there_is_an_error_of_the_configuration_not_of_a_request():
    with pytest.raises(ConfigError, match=r"models\.small\.gpu: there is no GPU 2"):
        devices_of(gpu=2)
