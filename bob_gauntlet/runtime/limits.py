"""The cores and the memory that this process may use, as affinity and control groups of Linux limit them."""

import math
from collections.abc import Iterator
from pathlib import Path

from bob_gauntlet.runtime.devices import cores

_CONTROLLERS = {"cpu": ("cpu", "cpu,cpuacct"), "memory": ("memory",)}
"""Controller -> the names of its folder in version 1 of control groups."""


def usable_cores(root: Path = Path("/")) -> int:
    """Return the number of cores that are worth using: those of the affinity, at most the quota of a control group."""
    quotas = [*_quotas(root), float(cores())]
    return max(1, math.ceil(min(quotas)))


def available_memory(root: Path = Path("/")) -> int | None:
    """Return the bytes that processes can still allocate without swapping; None where the system does not say."""
    available = [
        int(line.split()[1]) * 1024
        for line in _lines(root / "proc/meminfo")
        if line.startswith("MemAvailable:") and line.split()[1].isdecimal()
    ]
    return min([*available, *_unused_memory(root)], default=None)


def _quotas(root: Path) -> Iterator[float]:
    """Yield the quota of every control group of this process that has one, in cores."""
    for folder in _groups(root, "cpu"):
        limit = " ".join(_lines(folder / "cpu.max")[:1]).split() or [
            *_lines(folder / "cpu.cfs_quota_us")[:1],
            *_lines(folder / "cpu.cfs_period_us")[:1],
        ]
        if len(limit) == 2 and all(part.isdecimal() and int(part) for part in limit):
            yield int(limit[0]) / int(limit[1])


def _unused_memory(root: Path) -> Iterator[int]:
    """Yield the bytes that are left of the limit of every control group of this process that has one.

    What the group holds of files counts as left, since the system can drop it.
    """
    for folder in _groups(root, "memory"):
        for limit_file, used_file in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            numbers = [*_lines(folder / limit_file)[:1], *_lines(folder / used_file)[:1]]
            if len(numbers) == 2 and all(number.isdecimal() for number in numbers):
                stat = dict(line.split()[:2] for line in _lines(folder / "memory.stat") if len(line.split()) == 2)
                files = stat.get("total_inactive_file", stat.get("inactive_file", "0"))
                yield max(0, int(numbers[0]) - int(numbers[1]) + int(files))


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's control group and of those above it, in version 2 and in version 1.

    In a container the path may be that of the host; then only the last folder, the container's own, is there.
    """
    mounted = root / "sys/fs/cgroup"
    for line in _lines(root / "proc/self/cgroup"):
        _, names, path = (*line.split(":", 2), "", "")[:3]
        inner = Path(path.lstrip("/"))
        if not names:
            yield from (mounted / part for part in (inner, *inner.parents))
        elif controller in names.split(","):
            for name in _CONTROLLERS[controller]:
                yield from (mounted / name / part for part in (inner, *inner.parents))


def _lines(path: Path) -> list[str]:
    """Return the lines of a file; [] where it cannot be read."""
    try:
        return path.read_text().splitlines()
    except (OSError, ValueError):
        return []
