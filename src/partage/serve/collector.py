"""How often Python's garbage collector looks, and at what: the hub must not stand still while thousands wait."""

from __future__ import annotations

import gc

YOUNG_OBJECTS = 10_000
"""So many more made than freed, and it looks at them. A request leaves no cycles behind (three looks in 1,500 requests); what
grows is the queue, and each look at that is wasted. With Python's 700, a queue of 10,000 costs one request in seventy 0.1 ms and
one in a few thousand 20-90 ms."""


def look_seldom() -> None:
    """Call when everything is built: what is there by now stays, and is not looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 10, 10)
