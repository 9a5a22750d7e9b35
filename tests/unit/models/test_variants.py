from __future__ import annotations

from partage.models.names import parse
from partage.models.reach import Reach
from partage.models.variants import variants_of


async def test_the_variants_of_a_catalog_model_are_its_family_the_largest_first():
    found = await variants_of(parse("smollm2:135m"), Reach())
    assert [(variant.name, variant.quantisation) for variant in found] == [
        ("smollm2:135m", "Q8_0"),
        ("smollm2:135m-instruct-q4_1", "Q4_1"),
    ]
