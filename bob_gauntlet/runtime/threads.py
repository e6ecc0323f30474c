"""Threads of numerical libraries: how many the user has chosen, and how they wait for each other.

The threads of one operation spin while they wait for the last of them. Where another process runs on one of the cores,
the others burn the time that it needs; so the time that they spin is bounded. The libraries read these variables when
they are loaded.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables by which a user chooses the number of threads."""

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Variables by which a user chooses how threads wait."""

SPINS = "1000"
"""Turns of a waiting thread before it sleeps; GNU's OpenMP has 300,000 by default. docs/parallel.md has the figures."""


def chosen_threads(environment: Mapping[str, str]) -> int | None:
    """Return the number of threads that the user has chosen; None where the environment names none.

    >>> chosen_threads({"OMP_NUM_THREADS": "4,2"}), chosen_threads({"MKL_NUM_THREADS": "3"}), chosen_threads({})
    (4, 3, None)
    """
    for name in COUNTS:
        # a list gives one number for each level of nesting
        outermost = environment.get(name, "").partition(",")[0].strip()
        if outermost.isascii() and outermost.isdecimal() and int(outermost) > 0:
            return int(outermost)
    return None


@contextmanager
def bounded_waiting() -> Iterator[None]:
    """Let threads of libraries that are loaded inside, here and in new processes, sleep after a short wait.

    A user who has set one of WAITING keeps it. Afterwards the environment is as before; libraries that were loaded
    inside keep what they have read.
    """
    if any(name in os.environ for name in WAITING):
        yield
        return
    os.environ["GOMP_SPINCOUNT"] = SPINS
    try:
        yield
    finally:
        os.environ.pop("GOMP_SPINCOUNT", None)
