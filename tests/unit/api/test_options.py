from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest

from partage.api.fake_hub import CHATTY
from partage.api.options import OLLAMA_DEFAULTS, OPENAI_DEFAULTS, SAMPLING, options_of, top_logprobs_of
from partage.errors import InvalidRequest
from partage.json_value import JsonValue
from partage.work import Sampling

PLAIN = replace(CHATTY, parameters={})


def sampling_of(**asked: object) -> Sampling:
    return options_of(PLAIN, asked, {}).sampling


def test_every_sampling_option_arrives():
    asked: dict[str, Any] = {
        "num_predict": 10, "temperature": 0.5, "top_p": 0.6, "top_k": 7, "min_p": 0.1, "typical_p": 0.9, "seed": 42,
        "repeat_penalty": 1.2, "repeat_last_n": 32, "presence_penalty": 0.3, "frequency_penalty": -0.4,
    }  # fmt: skip
    assert asked.keys() == SAMPLING.keys()
    expected = Sampling(
        max_tokens=10, temperature=0.5, top_p=0.6, top_k=7, min_p=0.1, typical_p=0.9, seed=42, repeat_penalty=1.2,
        repeat_last_n=32, presence_penalty=0.3, frequency_penalty=-0.4,
    )  # fmt: skip
    assert sampling_of(**asked) == expected


@pytest.mark.parametrize("without_end", [-1, -2])
def test_a_negative_num_predict_is_no_limit(without_end: int):
    assert sampling_of(num_predict=without_end).max_tokens is None


def test_whole_floats_are_integers_and_integers_are_numbers():
    sampling = sampling_of(top_k=40.0, temperature=1)
    assert (sampling.top_k, type(sampling.top_k)) == (40, int)
    assert type(sampling.temperature) is float


@pytest.mark.parametrize(("asked", "stop"), [("a", ("a",)), (["a", "b"], ("a", "b")), ([], ()), ("", ()), (None, ())])
def test_stop_is_a_text_or_several(asked: JsonValue, stop: tuple[str, ...]):
    assert sampling_of(stop=asked).stop == stop


@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", "hot"), ("top_k", 1.5), ("top_k", True), ("seed", []), ("num_ctx", "4k"), ("stop", 3),
     ("stop", [1]), ("temperature", {"a": "x" * 100})],
)  # fmt: skip
def test_a_wrong_type_is_named(name: str, value: object):
    with pytest.raises(InvalidRequest, match=f"options.{name} must be") as raised:
        sampling_of(**{name: value})
    assert raised.value.field == f"options.{name}"
    assert len(raised.value.message) < 120


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [("temperature", -1, 0), ("top_p", 1.5, 1), ("top_p", -2, 0), ("top_k", -40, -1), ("repeat_last_n", -7, -1)],
)
def test_an_option_out_of_range_is_taken_for_the_end_of_it_as_in_ollama(name: str, value: float, taken: float):
    assert getattr(sampling_of(**{name: value}), name) == taken


@pytest.mark.parametrize("none", [0, -1])
def test_a_repeat_penalty_of_nothing_is_no_penalty(none: float):
    assert sampling_of(repeat_penalty=none).repeat_penalty == 1.0


def test_a_seed_too_large_for_64_bits_is_still_a_seed():
    assert sampling_of(seed=10**30).seed == 2**63 - 1


@pytest.mark.parametrize(("name", "value"), [("temperature", -1), ("top_p", 1.5), ("seed", 10**30), ("top_k", -2)])
def test_a_field_out_of_range_is_named_as_openai_does(name: str, value: float):
    with pytest.raises(InvalidRequest, match=f"^{name} must be from"):
        options_of(PLAIN, None, OPENAI_DEFAULTS, fields={name: value})


def test_a_field_of_no_alternatives_means_all_of_them():
    assert options_of(PLAIN, None, OPENAI_DEFAULTS, fields={"top_k": -1}).sampling.top_k == -1


def test_the_request_beats_the_model_and_the_model_beats_the_dialect():
    model = replace(PLAIN, parameters={"top_k": 5, "temperature": 0.3})
    sampling = options_of(model, {"temperature": 0.1, "top_p": None}, OLLAMA_DEFAULTS).sampling
    assert (sampling.temperature, sampling.top_k, sampling.top_p) == (0.1, 5, 0.9)


def test_the_dialects_differ_in_their_defaults():
    assert options_of(PLAIN, None, OLLAMA_DEFAULTS).sampling.temperature == 0.8
    assert options_of(PLAIN, None, OPENAI_DEFAULTS).sampling.temperature == 1.0


def test_num_ctx_is_the_context_asked_for_and_none_says_nothing():
    assert options_of(PLAIN, {"num_ctx": 4096}, {}).context_tokens == 4096
    assert [options_of(PLAIN, {"num_ctx": none}, {}).context_tokens for none in (0, -1)] == [None, None]


def test_unknown_options_are_ignored_with_one_warning(caplog: pytest.LogCaptureFixture):
    for _ in range(3):
        assert sampling_of(never_heard_of=1) == Sampling()
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.message for record in warnings] == ["unknown option 'never_heard_of' is ignored"]


def test_how_a_model_is_loaded_is_not_the_clients_to_say(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO):
        assert sampling_of(logits_all=True) == Sampling()  # said once per name, so one that no other test brings
    assert "the hub decides" in caplog.text


@pytest.mark.parametrize(
    ("wanted", "top", "expected"), [(None, None, None), (False, 5, None), (True, None, 0), (True, 20, 20)]
)
def test_log_probabilities_come_only_when_wanted(wanted: bool | None, top: int | None, expected: int | None):
    assert top_logprobs_of(wanted=wanted, top=top) == expected


def test_more_than_twenty_alternatives_are_refused():
    with pytest.raises(InvalidRequest, match="from 0 to 20"):
        top_logprobs_of(wanted=True, top=21)
