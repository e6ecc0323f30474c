"""A machine whose clock advances only by the work that calls do: times, load and noise are exact."""

from collections.abc import Callable, Iterator
from itertools import cycle, repeat
from types import SimpleNamespace

import pytest

from bob_gauntlet.engine import timing


class FakeMachine:
    """Wall time, processor time and load of a machine.

    `slowness` gives, for each piece of work in turn, how many times longer than on a quiet machine the processor needs
    for it, and `shares` this process's share of the core meanwhile; `loads` gives the load of each round.
    """

    def __init__(
        self,
        *,
        speed: float = 1.0,
        slowness: Iterator[float] | None = None,
        shares: Iterator[float] | None = None,
        loads: Iterator[float] | None = None,
    ) -> None:
        self.speed = speed
        self.slowness, self.shares, self.loads = (given or repeat(1.0) for given in (slowness, shares, loads))
        self.wall = self.processor = 0.0

    def work(self, seconds: float) -> None:
        """Advance the clock by what this work takes."""
        taken = seconds * next(self.slowness) / self.speed
        self.processor += taken
        self.wall += taken / next(self.shares)

    def call(self, seconds: float) -> Callable[[], None]:
        """Return a call that takes so long on a quiet machine of speed 1."""
        return lambda: self.work(seconds)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Let the module `timing` read this machine's clock and load; its kernels take 1 and 2 ms."""
        clock = SimpleNamespace(perf_counter=lambda: self.wall, process_time=lambda: self.processor)
        patch.setattr(timing, "time", clock)
        patch.setattr(timing.devices, "load", lambda: next(self.loads))
        patch.setattr(timing.os, "cpu_count", lambda: 2)
        kernels = {"matrix_product": self.call(0.001), "memory_pass": self.call(0.002)}
        patch.setattr(timing, "calibration_kernels", lambda device: kernels)


def every(period: int, value: float) -> Iterator[float]:
    """Return `value` for one piece of work in `period`, and 1 for the others."""
    return cycle([value, *[1.0] * (period - 1)])
