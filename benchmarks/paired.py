"""Measure sides in turn, so that a slow moment of the machine affects all of them; ratios of pairs, medians, spread."""

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


def run_in_turn(calls: Mapping[str, Callable[[], T]], repeats: int, warm_up: int = 0) -> dict[str, list[T]]:
    """Run each call once per round, in turn, and return the results by side; the first `warm_up` rounds are left out.

    >>> run_in_turn({"a": lambda: 1, "b": lambda: 2}, repeats=2)
    {'a': [1, 1], 'b': [2, 2]}
    """
    rounds = [{side: call() for side, call in calls.items()} for _ in range(warm_up + repeats)][warm_up:]
    return {side: [results[side] for results in rounds] for side in calls}


def run_in_processes(script: str, sides: Iterable[str], arguments: Sequence[str], repeats: int) -> dict[str, list[Any]]:
    """Run each side in its own process, in turn, and return the results by side.

    Settings of a whole process, such as the allocator's thresholds, then affect one side only. Each process is
    `script --serve SIDE` with the arguments; it has to call `serve`. All processes live until the last round. One round
    warms up.
    """
    start = partial(subprocess.Popen, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    processes = {side: start([sys.executable, script, "--serve", side, *arguments]) for side in sides}
    try:
        calls = {side: partial(_request_measurement, process) for side, process in processes.items()}
        return run_in_turn(calls, repeats, warm_up=1)
    finally:
        for process in processes.values():
            process.kill()
            process.communicate()


def serve(measure: Callable[[], Any]) -> None:
    """Print one measurement as a line of JSON for each line of standard input: the process of one side."""
    for _ in sys.stdin:
        print(json.dumps(measure()), flush=True)


def _request_measurement(process: "subprocess.Popen[str]") -> Any:
    """Ask the process of a side for one measurement, and wait for it."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


def time_call(call: Callable[[], T]) -> tuple[float, T]:
    """Return the seconds that a call takes, and its result."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Return the ratio of the two values of each round.

    >>> ratios([2, 6], [1, 2])
    [2.0, 3.0]
    """
    return [a / b for a, b in zip(above, below, strict=True)]


def format_spread(values: Sequence[float], digits: int = 2) -> str:
    """Format the median with the smallest and the largest value.

    >>> format_spread([3, 1, 2])
    '2.00 (1.00 to 3.00)'
    """
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def describe_load() -> str:
    """Describe how busy the machine is, for the line that says what was measured."""
    return f"load {os.getloadavg()[0]:.1f}"
