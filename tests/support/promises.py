"""Trials whose steps Hypothesis chooses (trial.py): it makes one in which a promise is broken as short as it can.

`bench/policy_promises.py` runs the same machine for as long as one likes.
"""

from __future__ import annotations

import random

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from trial import STEPS, Trial


class Promises(RuleBasedStateMachine):
    trial: Trial | None = None

    @initialize(chance=st.randoms(use_true_random=False))
    def build(self, chance: random.Random) -> None:
        self.trial = Trial(chance, say=note)

    @rule(step=st.sampled_from(STEPS))
    def take(self, step: str) -> None:
        assert self.trial is not None
        self.trial.take(step)

    def teardown(self) -> None:
        if self.trial is not None:
            self.trial.end()
