from __future__ import annotations

from town import Town, gpu, placement

from partage.domain import Class


def called_by(count: int, *, output_tokens: int) -> Town:
    """A model with one slot that has just come, for so many of one person's questions."""
    town = Town(None, gpu("gpu", 10))
    town.learn("a", placement(("gpu", 10), slots=1), load_s=2.0, decode_tokens_per_s=10.0)
    town.learn("b", placement(("gpu", 10), slots=1), load_s=2.0, decode_tokens_per_s=10.0)
    for number in range(count):
        town.ask(str(number), "a", class_=Class.INTERACTIVE, output_tokens=output_tokens)
    town.make_ready("a#1")
    return town


def served_before_it_leaves(town: Town) -> int:
    """While somebody with more of a claim waits for its memory, and has lost patience."""
    town.ask("other", "b", "other", class_=Class.INTERACTIVE, output_tokens=10)
    town.pass_time(100.0)
    served = 0
    while town.serving:
        (request,) = town.serving
        town.pass_time(town.open[request].output_tokens / 10.0)
        town.finish(request, output_tokens=town.open[request].output_tokens)
        served += 1
    return served


def test_a_fresh_model_serves_all_that_called_it_where_that_is_soon_done() -> None:
    assert served_before_it_leaves(called_by(30, output_tokens=1)) == 30


def test_a_fresh_model_with_long_answers_lets_others_come_before_all_that_called_it_are_served() -> None:
    assert served_before_it_leaves(called_by(30, output_tokens=100)) == 8
