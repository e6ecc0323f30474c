"""The cost of a command with all its child processes: wall and CPU time, bytes written, peak memory (Linux)."""

import os
import resource
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_INTERVAL = 0.25
"""Seconds between two looks at the memory."""


@dataclass(frozen=True)
class Cost:
    """The cost of one command with all its child processes."""

    exit_code: int
    output: str
    wall_seconds: float
    cpu_seconds: float
    # bytes that had to be written to a disk
    bytes_written: int
    # the largest sum of the processes' memory, where memory that processes share counts once
    peak_bytes: int


def run_and_measure(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], watch: Callable[[float], None]
) -> Cost:
    """Run a command in a folder and return what it cost.

    `watch` is called several times a second with the seconds since the start. CPU time and bytes written are those of
    all processes that have ended and been waited for by their parents.
    """
    usage, written, began = resource.getrusage(resource.RUSAGE_CHILDREN), _bytes_written(), time.perf_counter()
    peak = 0
    output = folder / "output.txt"
    with output.open("wb") as file:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT)
        while process.poll() is None:
            peak = max(peak, sum(map(_memory, _descendants(process.pid))))
            watch(time.perf_counter() - began)
            time.sleep(_INTERVAL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(
        exit_code=process.returncode,
        output=output.read_text(errors="replace"),
        wall_seconds=time.perf_counter() - began,
        cpu_seconds=after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime,
        bytes_written=_bytes_written() - written,
        peak_bytes=peak,
    )


def _bytes_written() -> int:
    """Return the bytes that this process and the children it has waited for wrote to disks."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))


def _descendants(root: int) -> list[int]:
    """Return the ids of a process and of all processes below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            children.setdefault(_parent(entry), []).append(int(entry.name))
    family = [root]
    for process in family:
        family += children.get(process, [])
    return family


def _parent(entry: Path) -> int:
    """Return the id of the parent of a process, -1 where the process has ended."""
    try:
        # the name before the last parenthesis can contain anything
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return -1


def _memory(process: int) -> int:
    """Return the proportional set size of a process in bytes, 0 where it has ended."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def share_of_cores(cost: Cost) -> float:
    """Return the share of the machine's CPU time that a command used."""
    return cost.cpu_seconds / (cost.wall_seconds * (os.cpu_count() or 1))
