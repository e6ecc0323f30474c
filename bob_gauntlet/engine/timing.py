"""Measurements of a forward pass: seconds after a warm-up, how quiet the machine was meanwhile, FLOPs, peak memory."""

import os
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.runtime import devices
from bob_gauntlet.scores.provenance import KernelTimes, Timing

Calls = Mapping[str, Callable[[], object]]
"""Name -> a call to be timed."""


def flops(backbone: Backbone, images: torch.Tensor) -> int:
    """Count the floating-point operations of one forward pass with torch's counter: 2 for a multiply-accumulate.

    Attention is computed without a fused kernel, since the counter does not see the operations inside the CPU's one.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        backbone.embed(images)
    return int(counter.get_total_flops())


@dataclass
class Rounds:
    """Times of calls that took turns, and how busy the machine was meanwhile."""

    threads: int
    # call -> seconds of wall time, and of processor time of this process, in every timed round
    wall: dict[str, list[float]]
    processor: dict[str, list[float]]
    # threads of all processes that wanted a core, once a round
    loads: list[float] = field(default_factory=list)

    def own_time(self, device: str) -> dict[str, list[float]]:
        """Return the times that other processes lengthen least: processor time on a CPU, wall time on a GPU.

        While another process has the core, wall time passes and processor time does not.
        """
        return self.processor if device == "cpu" else self.wall


def take_turns(calls: Calls, device: str, *, warmup: int, repeats: int, untimed: int = 0) -> Rounds:
    """Time calls that take turns, `repeats` times each, after `warmup` rounds that are not timed.

    A disturbance so meets all of them. Every timed call follows `untimed` calls of the same kind, which fill the
    caches. Before and after each call the function waits until the device has finished its work.
    """
    rounds = Rounds(torch.get_num_threads(), {name: [] for name in calls}, {name: [] for name in calls})
    for index in range(warmup + repeats):
        load = devices.load()
        for name, call in calls.items():
            for _ in range(untimed):
                call()
            _synchronise(device)
            start, processor_start = time.perf_counter(), time.process_time()
            call()
            _synchronise(device)
            wall, processor = time.perf_counter() - start, time.process_time() - processor_start
            if index >= warmup:
                rounds.wall[name].append(wall)
                rounds.processor[name].append(processor)
        if index >= warmup and load is not None:
            rounds.loads.append(load)
    return rounds


def calibration_kernels(device: str) -> Calls:
    """Return the two fixed calls that take turns with what is timed: a matrix product and a pass over memory.

    They take the same time in every round on a quiet machine: a millisecond or two on one core or on a GPU.
    """
    side, numbers = (384, 2**23) if device == "cpu" else (4096, 2**27)
    matrix = torch.ones(side, side, dtype=torch.float32, device=device)
    block = torch.ones(numbers, dtype=torch.float32, device=device)
    return {"matrix_product": lambda: matrix @ matrix, "memory_pass": lambda: block.neg_()}


def describe_quietness(timings: Sequence[Rounds], series: Sequence[Sequence[float]], device: str) -> Timing:
    """Return the record of how quiet the machine was while `timings` were taken, which all ran on as many threads.

    `series` are the repeats that the reported values are medians of.
    """
    loads = [load for rounds in timings for load in rounds.loads]
    wall = sum(sum(seconds) for rounds in timings for seconds in rounds.wall.values())
    processor = sum(sum(seconds) for rounds in timings for seconds in rounds.processor.values())
    threads = timings[0].threads
    return Timing(
        repeats=sum(len(repeats) for repeats in series),
        threads=threads,
        spread=max(spread / median for median, spread in map(median_and_spread, series)),
        load=statistics.mean(loads) if loads else None,
        cores=os.cpu_count() or 1,
        cpu_share=processor / (wall * threads) if device == "cpu" and wall else None,
        matrix_product=_kernel_times(timings, "matrix_product"),
        memory_pass=_kernel_times(timings, "memory_pass"),
    )


def _kernel_times(timings: Sequence[Rounds], name: str) -> KernelTimes:
    """Return the milliseconds of a calibration kernel over all rounds."""
    seconds = [value for rounds in timings for value in rounds.wall[name]]
    return KernelTimes(quickest_ms=1e3 * min(seconds), median_ms=1e3 * statistics.median(seconds))


def median_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Return the median, and half of the interquartile range.

    >>> median_and_spread([1.0, 2.0, 3.0, 4.0, 5.0])
    (3.0, 1.5)
    """
    if len(values) < 2:
        return values[0], 0.0
    first, middle, last = statistics.quantiles(values, n=4)
    return middle, (last - first) / 2


def peak_memory(call: Callable[[], object], device: str) -> float:
    """Return the MiB of memory that a call needs at its peak, beyond what was in use before it.

    On a GPU, CUDA's allocator counts it. On a CPU it is the peak of the process's resident memory, which is reset first
    (Linux); memory that the C library's allocator already held is not counted, so the result is a lower bound.
    """
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats(device)
        allocated = torch.cuda.memory_allocated(device)
        call()
        return float(torch.cuda.max_memory_allocated(device) - allocated) / 2**20
    _trim()
    _reset_high_water_mark()
    before = _resident("VmRSS")
    call()
    return max(0.0, _resident("VmHWM") - before) / 2**10


@contextmanager
def use_threads(count: int, device: str) -> Iterator[None]:
    """Let torch use `count` threads inside the block, on a CPU. On a GPU nothing changes."""
    before = torch.get_num_threads()
    torch.set_num_threads(count if device == "cpu" else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _synchronise(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)


def _trim() -> None:
    """Return freed memory to the system, so that the next allocation of it is counted."""
    import ctypes

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _reset_high_water_mark() -> None:
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")


def _resident(field: str) -> float:
    """Return VmRSS or VmHWM of this process in KiB: resident memory now, or at its peak."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    line = next(line for line in status.read_text().splitlines() if line.startswith(field))
    return float(line.split()[1])
