from __future__ import annotations

import base64
from array import array

import msgspec
import pytest

from partage.engine.vectors import decode_embeddings, shorten
from partage.errors import EngineError


def test_vectors_are_put_in_the_order_of_the_inputs():
    packed = base64.b64encode(array("f", [0.5, -0.25]).tobytes()).decode()
    answer = msgspec.json.encode(
        {
            "data": [{"index": 1, "embedding": [1, 2]}, {"index": 0, "embedding": packed}],
            "usage": {"prompt_tokens": 7, "total_tokens": 7},
        }
    )
    vectors, usage = decode_embeddings(answer, 2)
    assert vectors == [(0.5, -0.25), (1.0, 2.0)]
    assert usage.prompt_tokens == 7


def test_missing_vector_is_an_error():
    with pytest.raises(EngineError, match="0 vectors for 1"):
        decode_embeddings(b'{"data":[]}', 1)


def test_shortened_vector_has_length_one_again():
    assert shorten((3.0, 4.0, 12.0), 2, normalise=True) == (0.6, 0.8)
    assert shorten((3.0, 4.0, 12.0), 2, normalise=False) == (3.0, 4.0)
    assert shorten((0.0, 0.0, 1.0), 2, normalise=True) == (0.0, 0.0)
