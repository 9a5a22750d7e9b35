from __future__ import annotations

from dataclasses import replace

import pytest

from partage.api.fake_hub import CHATTY
from partage.config import HubConfig
from partage.domain import Device, TensorFacts
from partage.errors import CannotFit
from partage.hub.profiles import Profiles
from partage.models.variants import Variant
from partage.serve.fit import choose

GIB = 1 << 30


def host(gib: float) -> Device:
    return Device(id="host", kind="host", name="host", total_bytes=int(gib * GIB), cores=8)


def gpu(gib: float) -> Device:
    return Device(id="GPU-1", kind="cuda", name="the GPU", total_bytes=int(gib * GIB))


def variant(quantisation: str, gib: float) -> Variant:
    size = int(gib * GIB)
    tensors = tuple(
        TensorFacts(name=f"blk.{layer}.ffn_up.weight", type="Q8_0", shape=(64, 64), size_bytes=size // 2)
        for layer in range(2)
    )
    anatomy = replace(CHATTY.anatomy, tensors=tensors)
    return Variant(name=f"m:{quantisation.lower()}", quantisation=quantisation, size_bytes=size, anatomy=anatomy)


VARIANTS = [variant("F16", 16), variant("Q8_0", 8), variant("Q4_K_M", 5), variant("Q2_K", 3)]


def chosen(*devices: Device, variants: list[Variant] = VARIANTS) -> str:
    profiles = Profiles(devices, HubConfig(), {}, default_threads=4)
    return choose("m", variants, devices, profiles, ()).name


def test_the_largest_that_fits_is_taken_up_to_eight_bits():
    assert chosen(host(64)) == "m:q8_0"
    assert chosen(host(8)) == "m:q4_k_m"
    assert chosen(host(5)) == "m:q2_k"


def test_where_nothing_has_eight_bits_more_are_better_than_fewer():
    assert chosen(host(64), variants=[variant("F16", 16), variant("Q4_K_M", 5)]) == "m:f16"


def test_what_runs_on_the_gpu_alone_goes_before_what_is_larger_and_slower():
    assert chosen(gpu(6.5), host(64)) == "m:q4_k_m"


def test_where_nothing_fits_the_sum_is_told():
    with pytest.raises(CannotFit, match=r"no variant of m fits(.|\n)*Q2_K .* does not fit host") as caught:
        chosen(host(2))
    assert caught.value.needs_bytes > 3 * GIB


def test_the_reasons_name_every_variant_and_what_is_beside_it():
    devices = (host(8),)
    profiles = Profiles(devices, HubConfig(), {}, default_threads=4)
    lines = choose("m", VARIANTS, devices, profiles, ("other:latest",)).lines
    assert lines[0] == "room beside other:latest: host 8.00 GiB"
    assert "answers no better than Q8_0" in lines[1]
    assert "does not fit host" in lines[2]
    assert "fits host with" in lines[3]
    assert lines[-1] == "chosen: m:q4_k_m, the best that fits"


def test_a_model_nobody_has_looked_into_is_judged_by_its_size():
    unknown = replace(variant("Q8_0", 4), anatomy=None)
    assert chosen(host(6), variants=[unknown]) == "m:q8_0"
    with pytest.raises(CannotFit):
        chosen(host(5), variants=[unknown])
