"""Sides measured in turn, so that a slow moment of the machine meets them all; ratios of pairs, medians, spread."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


def in_turn(calls: Mapping[str, Callable[[], T]], repeats: int, warm_up: int = 0) -> dict[str, list[T]]:
    """What each call gives, one of each in turn; the first `warm_up` rounds are left out.

    >>> in_turn({"a": lambda: 1, "b": lambda: 2}, repeats=2)
    {'a': [1, 1], 'b': [2, 2]}
    """
    rounds = [{side: call() for side, call in calls.items()} for _ in range(warm_up + repeats)][warm_up:]
    return {side: [turn[side] for turn in rounds] for side in calls}


def in_processes(script: str, sides: Iterable[str], arguments: Sequence[str], repeats: int) -> dict[str, list[Any]]:
    """The same with a process a side: what holds for a whole process, as the allocator's thresholds, stays with one.

    Each is `script --serve SIDE` with the arguments, lives as long as the others, and answers by `serve`. One round
    warms up.
    """
    start = partial(subprocess.Popen, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    processes = {side: start([sys.executable, script, "--serve", side, *arguments]) for side in sides}
    try:
        return in_turn({side: partial(_ask, process) for side, process in processes.items()}, repeats, warm_up=1)
    finally:
        for process in processes.values():
            process.kill()
            process.communicate()


def serve(measure: Callable[[], Any]) -> None:
    """A side's process: one measurement, as a line of JSON, for each line that comes in."""
    for _ in sys.stdin:
        print(json.dumps(measure()), flush=True)


def _ask(process: "subprocess.Popen[str]") -> Any:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


def timed(call: Callable[[], T]) -> tuple[float, T]:
    """Seconds and result of a call."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Of the pairs of one round each.

    >>> ratios([2, 6], [1, 2])
    [2.0, 3.0]
    """
    return [a / b for a, b in zip(above, below, strict=True)]


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median with the extremes.

    >>> spread([3, 1, 2])
    '2.00 (1.00 to 3.00)'
    """
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def load() -> str:
    """How busy the machine is, for the line that says what was measured."""
    return f"load {os.getloadavg()[0]:.1f}"
