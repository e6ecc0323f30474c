"""Was the machine quiet while times were measured? The signs of noise in the record that a time keeps.

A time is kept and shown wherever it was measured; it is ranked only where none of these signs exceeds its limit. The
record (`Timing`) is in the provenance of the score. Standard library only.
"""

import shlex
from collections.abc import Mapping
from typing import Any

MAX_SLOWDOWN = 1.5
"""The median time of a calibration kernel, in times its quickest."""

MAX_SPREAD = 0.1
"""Half the interquartile range of the repeats, as a share of their median."""

MIN_CPU_SHARE = 0.9
"""Processor time over wall time, of calls that run on one thread."""

SAME_SPEED = 1.15
"""Two machines count as equally fast where the calibration kernels' quickest times differ by no larger factor."""

KERNELS = {"matrix_product": "matrix product", "memory_pass": "memory pass"}
"""Key of a calibration kernel in the record -> its name in messages."""


def signs_of_noise(timing: object) -> list[str]:
    """Return what shows that the machine was not quiet, a phrase each; [] where nothing does.

    Figures that the record lacks are not judged.

    >>> signs_of_noise({"spread": 0.38, "load": 3.2, "cores": 2, "threads": 1, "cpu_share": 0.97})
    ['spread of repeats 38%', 'load 3.2 on 2 cores']
    """
    record = timing if isinstance(timing, Mapping) else {}
    slowdowns = {name: _slowdown(record, key) for key, name in KERNELS.items()}
    spread, load, cores = (_number(record, key) for key in ("spread", "load", "cores"))
    share = _number(record, "cpu_share") if record.get("threads") == 1 else None
    signs = [
        f"the fixed {name} took {times:.1f} times its quickest"
        for name, times in slowdowns.items()
        if times is not None and times > MAX_SLOWDOWN
    ]
    signs += [f"spread of repeats {spread:.0%}"] if spread is not None and spread > MAX_SPREAD else []
    signs += [f"load {load:.1f} on {cores:.0f} cores"] if load is not None and cores and load > cores else []
    signs += [f"{share:.0%} of a core's time"] if share is not None and share < MIN_CPU_SHARE else []
    return signs


def describe(timing: object) -> str:
    """Return the figures of a record in one phrase, whether or not the machine was quiet; "" without any.

    >>> describe({"threads": 1, "spread": 0.021, "load": 1.04, "cores": 2, "cpu_share": 0.991})
    "on 1 thread: spread of repeats 2%, load 1.0 on 2 cores, 99% of a core's time"
    """
    record = timing if isinstance(timing, Mapping) else {}
    threads, spread, load, cores, share = (
        _number(record, key) for key in ("threads", "spread", "load", "cores", "cpu_share")
    )
    parts = [f"spread of repeats {spread:.0%}"] if spread is not None else []
    parts += [f"load {load:.1f} on {cores:.0f} cores"] if load is not None and cores else []
    parts += [
        f"{name} {times:.2f} times its quickest"
        for key, name in KERNELS.items()
        if (times := _slowdown(record, key)) is not None
    ]
    parts += [f"{share:.0%} of a core's time"] if share is not None and threads == 1 else []
    where = f"on {threads:.0f} thread{'s' * (threads != 1)}: " if threads else ""
    return where + ", ".join(parts) if parts else ""


def why_not_ranked(timing: object, setting: str, backbone: str, scale: str) -> str:
    """Return why a time must not be ranked and what to type next; "" where the machine was quiet.

    >>> why_not_ranked({"spread": 0.38}, "efficiency@noise", "mine", "mini")
    'the machine was not quiet: spread of repeats 38%; run it again alone: pytest suites/ --backbone=mine -k efficiency --bob-rerun'
    """  # noqa: E501
    signs = signs_of_noise(timing)
    if not signs:
        return ""
    return f"the machine was not quiet: {', '.join(signs)}; run it again alone: {rerun(setting, backbone, scale)}"


def rerun(setting: str, backbone: str, scale: str) -> str:
    """Return the command that measures a setting of a backbone again."""
    options = [f"--backbone={backbone}", "-k", setting.partition("@")[0]]
    options += ["--scale", scale] if scale != "mini" else []
    return shlex.join(["pytest", "suites/", *options, "--bob-rerun"])


def same_speed(a: object, b: object) -> bool:
    """Tell whether the calibration kernels say that two records come from equally fast machines.

    False where a record has no such figures: the name of a processor does not say how fast a machine is.

    >>> fast, slow = ({"matrix_product": {"quickest_ms": t}, "memory_pass": {"quickest_ms": 4.0}} for t in (1.0, 1.6))
    >>> same_speed(fast, fast), same_speed(fast, slow), same_speed(fast, {})
    (True, False, False)
    """
    times = [[_kernel(record, key, "quickest_ms") for key in KERNELS] for record in (a, b)]
    pairs = list(zip(*times, strict=True))
    return all(x and y and max(x / y, y / x) <= SAME_SPEED for x, y in pairs)


def _slowdown(record: object, key: str) -> float | None:
    """Return the median time of a calibration kernel over its quickest; None where the record lacks one."""
    quickest, median = (_kernel(record, key, field) for field in ("quickest_ms", "median_ms"))
    return median / quickest if quickest and median is not None else None


def _kernel(record: object, key: str, field: str) -> float | None:
    times = record.get(key) if isinstance(record, Mapping) else None
    return _number(times, field) if isinstance(times, Mapping) else None


def _number(record: Mapping[str, Any], key: str) -> float | None:
    """Return a number of the record; None where it is absent or no number."""
    value = record.get(key)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
