"""The garbage collector, set for a service: it holds much for long and makes pages in bursts.

By default the collector looks at everything that has been made since the last 700 allocations; a
page of the feed is thousands of objects that all die young, so decoding one would take three
times as long. Reference counts free them; the collector is for cycles, which are rare here.
"""

import gc

ALLOCATIONS = 50_000


def settle() -> None:
    """Leave alone what has been loaded, and look at the rest more rarely. Call once, at start."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(ALLOCATIONS, 20, 50)
