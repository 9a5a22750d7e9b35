from __future__ import annotations

from anatomies import llama

from partage.domain import Device
from partage.policy.placements import Wish, placements_for

GIB = 1 << 30
MODEL = llama(layers=16)  # 1.2 GB of weights


def gpu(index: int, size: int) -> Device:
    return Device(id=f"GPU-{index}", kind="cuda", name="gpu", index=index, total_bytes=size)


def host(size: int, cores: int = 2) -> Device:
    return Device(id="host", kind="host", name="cpu", total_bytes=size, cores=cores)


def test_one_gpu_comes_before_two_and_two_before_the_host() -> None:
    places = placements_for(MODEL, None, [host(16 * GIB), gpu(0, 8 * GIB), gpu(1, 8 * GIB)], Wish())
    where = [tuple(device for device, _ in one.shares) for one in places]
    assert where[0] == ("GPU-0",)
    assert where.index(("GPU-0", "GPU-1")) < where.index(("host",))
    assert where[-1] == ("host",)


def test_a_model_too_large_for_each_gpu_is_split_over_both() -> None:
    places = placements_for(MODEL, None, [gpu(0, GIB * 7 // 5), gpu(1, GIB * 7 // 5)], Wish(context_tokens=2048))
    assert [len(one.shares) for one in places] == [2]
    assert sum(places[0].settings.split) == 1.0


def test_a_model_too_large_for_the_gpu_keeps_some_layers_on_the_host() -> None:
    places = placements_for(MODEL, None, [host(16 * GIB), gpu(0, GIB * 7 // 5)], Wish(context_tokens=2048))
    assert [one.settings.gpu_layers for one in places] == [9, 5, 0]
    assert places[0].speed > places[1].speed > places[2].speed


def test_spread_puts_two_gpus_first() -> None:
    places = placements_for(MODEL, None, [gpu(0, 8 * GIB), gpu(1, 8 * GIB)], Wish(spread=True))
    assert len(places[0].shares) == 2


def test_fewer_slots_and_a_shorter_context_come_after_the_wish() -> None:
    places = placements_for(MODEL, None, [host(16 * GIB)], Wish(context_tokens=8192, slots=4))
    assert [(one.settings.context_tokens, one.settings.slots) for one in places] == [
        (8192, 4),
        (8192, 1),
        (4096, 1),
        (2048, 1),
    ]


def test_the_smallest_is_named_where_nothing_fits() -> None:
    (place,) = placements_for(MODEL, None, [host(GIB)], Wish(context_tokens=8192, slots=4))
    assert place.settings.context_tokens == 2048


def test_threads_never_exceed_the_cores() -> None:
    (place, *_) = placements_for(MODEL, None, [host(16 * GIB, cores=2)], Wish(threads=8))
    assert place.settings.threads == 2


def test_the_host_reads_prompts_in_small_batches_so_that_leaving_is_noticed() -> None:
    places = placements_for(MODEL, None, [host(16 * GIB), gpu(0, 8 * GIB)], Wish(batch_tokens=256))
    by_place = {one.shares[0][0]: one.settings for one in places if len(one.shares) == 1}
    assert (by_place["GPU-0"].batch_tokens, by_place["host"].batch_tokens) == (256, 32)
    assert by_place["host"].micro_batch_tokens == 32
    (embedding, *_) = placements_for(MODEL, None, [host(16 * GIB)], Wish(batch_tokens=512, embedding=True))
    assert embedding.settings.batch_tokens == 512


def test_without_a_device_there_is_no_placement() -> None:
    assert placements_for(MODEL, None, [], Wish()) == ()


TWO = [host(16 * GIB), gpu(0, 24 * GIB), gpu(1, 8 * GIB)]


def where(wish: Wish) -> list[tuple[str, ...]]:
    return [tuple(device for device, _ in one.shares) for one in placements_for(MODEL, None, TWO, wish)]


def test_a_model_with_a_gpu_of_its_own_is_placed_as_if_the_others_were_not_there() -> None:
    assert where(Wish(gpus=("GPU-1",)))[0] == ("GPU-1",)
    assert all("GPU-0" not in places for places in where(Wish(gpus=("GPU-1",))))


def test_a_model_without_a_gpu_is_slow_on_a_machine_that_has_one() -> None:
    places = placements_for(MODEL, None, TWO, Wish(gpus=()))
    assert {device for one in places for device, _ in one.shares} == {"host"}
    assert places[0].settings.gpu_layers == 0
    assert places[0].speed < 1.0


def test_counted_layers_are_neither_more_nor_fewer() -> None:
    first = placements_for(MODEL, None, TWO, Wish(gpu_layers=5))[0]
    assert first.settings.gpu_layers == 5
    assert tuple(device for device, _ in first.shares) == ("GPU-0", "host")
    assert where(Wish(gpu_layers=0)) == where(Wish(gpus=()))
    assert where(Wish(gpu_layers=99))[0] == ("GPU-0",)


def test_of_a_model_over_two_gpus_the_projector_is_on_the_first() -> None:
    places = placements_for(MODEL, llama(layers=1), [gpu(0, 8 * GIB), gpu(1, 8 * GIB)], Wish(spread=True))
    first, second = (share.projector_bytes for _, share in places[0].shares)
    assert first > 0
    assert second == 0
