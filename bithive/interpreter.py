"""The Python interpreter, tuned for a hub: many small objects that die young, and threads that must not wait long.

Left alone, the cycle collector looks through what is new after every 700 objects and, now and then, through all of a
hub's modules: a fifth of the time of a busy ledger. Reference counting frees almost everything at once; cycles can wait.
And a thread that computes, such as one that closes an epoch, gives way to others only every 5 ms: whoever must take its
turn ten times to record an entry waits for 50.
"""

from __future__ import annotations

import gc
import sys

_NEW_OBJECTS = 100_000
_YOUNG_ROUNDS, _OLD_ROUNDS = 50, 100
_TURN_S = 0.001


def tune_interpreter() -> None:
    """Collect cycles less often and never what is alive now; take turns more often. Once, when a process has started."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, _YOUNG_ROUNDS, _OLD_ROUNDS)
    sys.setswitchinterval(_TURN_S)
